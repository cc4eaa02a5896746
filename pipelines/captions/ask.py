"""Ask an engine for the captions of rows: from what is kept, else with images prepared ahead."""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from PIL import Image

from filters.captioner import Answer, Asked, CaptionEngine, Unanswered
from filters.decode import DecodeError
from filters.face_blur import FaceBlur
from pipelines.captions.answers import FOLDER, Answers, storable
from pipelines.captions.choose import Request
from pipelines.runtime.active_images import active_images
from pipelines.runtime.device import DeviceClock, prepared_ahead
from pipelines.runtime.images import UNREADABLE_BYTES, batches, decode_image, read_each
from pipelines.runtime.sidecar import Reject
from schemas.caption_config import CaptionEngine as EngineConfig
from schemas.caption_config import Style
from schemas.fingerprint import fingerprint
from schemas.keys import draw
from schemas.recipe import DecodeConfig
from schemas.store.storage import CorpusError, Storage

READ_ROWS: Final = 64
JPEG_QUALITY: Final = 90
SEEDS: Final = 2**31

Outcome = Answer | Unanswered | Reject


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What is asked about an image."""

    id: str  # hash of its words, without those of the row
    text: str
    schema: Mapping[str, Any] | None = None
    reads_image: bool = True  # otherwise it is about texts alone


@dataclass(frozen=True, kw_only=True)
class Asker:
    """Asks the engines of a recipe about the images of one shard.

    Args:
        engines: with their settings, in the order of the recipe.
        prompt_of: writes the prompt of a request.
        store: the corpus.
        answers: of the shard.
        decode: of the recipe.
        clock: measures how long engines wait for images.
        require: raises an error if an engine cannot be asked on this worker, as without a GPU.
    """

    engines: Sequence[tuple[EngineConfig, CaptionEngine]]
    prompt_of: Callable[[Request], Prompt]
    max_new_tokens: Callable[[Style], int]
    store: Storage
    answers: Answers
    decode: DecodeConfig
    clock: DeviceClock
    require: Callable[[], None]

    def __call__(
        self, number: int, requests: Sequence[Request]
    ) -> Iterator[tuple[Request, Outcome]]:
        """Yield each request with what came of it; rows whose images are read have `blur`.

        Raises:
            EngineError: the engine cannot answer. Answers that came before are kept.
        """
        # Rows of one image share an answer.
        waiting: dict[str, list[Request]] = {}
        for digest, request, answer in self.known(number, requests):
            if answer is None:
                waiting.setdefault(digest, []).append(request)
            else:
                yield request, answer
        if not waiting:  # and no model is loaded, and no server asked or started
            self.answers.flush()
            return
        self.require()
        rejects: dict[str, Reject] = {}
        _, engine = self.engines[number]
        first = {digest: alike[0] for digest, alike in waiting.items()}
        try:
            for outcome in engine.answers(self.asked(number, first, rejects)):
                answer = outcome
                if isinstance(outcome, Answer):
                    answer = storable(outcome)
                    self.answers.add(answer)
                for request in waiting.pop(answer.digest):
                    yield request, answer
        finally:
            self.answers.flush()
        for digest, reject in rejects.items():
            for request in waiting[digest]:
                yield request, replace(reject, id=request.row["key"])

    def kept(self, number: int, requests: Sequence[Request]) -> Iterator[tuple[Request, Answer]]:
        """Yield each request with the answer that is kept.

        Raises:
            CorpusError: an answer is not there.
        """
        for digest, request, answer in self.known(number, requests):
            if answer is None:
                raise CorpusError(
                    f"{FOLDER}/: no answer to {digest}, for {request.row['key']} in style "
                    f"{request.style.style}"
                )
            yield request, answer

    def known(
        self, number: int, requests: Sequence[Request]
    ) -> Iterator[tuple[str, Request, Answer | None]]:
        """Yield each request with its digest and the answer that is kept, None without one."""
        digests = [self.digest(number, request) for request in requests]
        found = self.answers.find({*digests})
        for digest, request in zip(digests, requests, strict=True):
            yield digest, request, found.get(digest)

    def digest(self, number: int, request: Request) -> str:
        """Return the name of the answer to a request: a hash of all that decides it."""
        config, engine = self.engines[number]
        prompt, row = self.prompt_of(request), request.row
        sampled = [seed_of(request)] if config.temperature else []
        picture: list[Any] = []
        if prompt.reads_image:
            blur: FaceBlur = row["blur"]
            picture += [row["sha256"], config.image_side, JPEG_QUALITY, self.decode.decides()]
            picture += [blur.margin, blur.boxes] if blur else []
        asked = [prompt.text, prompt.schema, self.max_new_tokens(request.style), *sampled]
        return fingerprint(dict(engine.identity()), asked, picture)

    def asked(
        self, number: int, waiting: Mapping[str, Request], rejects: dict[str, Reject]
    ) -> Iterator[Asked]:
        """Yield requests with their images; put those without into `rejects`, by digest."""
        config, _ = self.engines[number]

        def prepare(given: tuple[str, Request, bytes | None]) -> Asked | Reject:
            digest, request, body = given
            prompt = self.prompt_of(request)
            try:
                jpeg = b"" if body is None else self._jpeg(request, body, config.image_side)
            except DecodeError as error:
                return Reject(id=digest, reason=error.reason, detail=error.detail)
            return Asked(
                digest=digest,
                prompt=prompt.text,
                image=jpeg,
                seed=seed_of(request),
                max_new_tokens=self.max_new_tokens(request.style),
                schema=prompt.schema,
                style=request.style.style,
            )

        for made in prepared_ahead(self._bodies(waiting, rejects), prepare, self.clock):
            if isinstance(made, Reject):
                rejects[made.id] = made
            else:
                yield made

    def _jpeg(self, request: Request, body: bytes, side: int) -> bytes:
        with active_images(request.row["key"]):
            image = decode_image(body, self.decode)
            return sent_jpeg(request.row["blur"](image), side)

    def _bodies(
        self, waiting: Mapping[str, Request], rejects: dict[str, Reject]
    ) -> Iterable[tuple[str, Request, bytes | None]]:
        """Yield requests with the bytes of their images; None for those about texts alone."""
        rows: list[dict[str, Any]] = []
        for digest, request in waiting.items():
            if self.prompt_of(request).reads_image:
                rows.append({**request.row, "digest": digest})
            else:
                yield digest, request, None
        for batch in batches(rows, READ_ROWS):
            for row, body in zip(batch, read_each(batch, self.store), strict=True):
                digest = row["digest"]
                if isinstance(body, CorpusError):
                    reject = Reject(id=row["key"], reason=UNREADABLE_BYTES, detail=str(body))
                    rejects[digest] = reject
                else:
                    yield digest, waiting[digest], body


def seed_of(request: Request) -> int:
    """Return the seed of a row in a style: of its key, not of its place."""
    return draw(request.row["key"], f"caption {request.style.style}", SEEDS)


def sent_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return the width and height in px of an image that is sent, at most `side`; never enlarged.

    >>> sent_size((1000, 400), 512), sent_size((30, 20), 512)
    ((512, 205), (30, 20))
    """
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def sent_jpeg(image: Image.Image, side: int) -> bytes:
    """Return an image as the JPEG that is sent, its longer side at most `side` px."""
    size = sent_size(image.size, side)
    small = image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    small.save(encoded, "JPEG", quality=JPEG_QUALITY)
    return encoded.getvalue()
