"""Scoring of encoded images: decode threads, prepared batches, one pass of each CLIP for all.

Shapes: B images, C values of an embedding.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from filters.decode import DecodeError
from filters.scorer import Batch, Device, Scorer, Subject
from filters.scores.registry import make_scorer
from pipelines.runtime.active_images import active_images, most_at_once
from pipelines.runtime.device import DeviceClock, device_lock, prepared_ahead
from pipelines.runtime.gpu import device_name
from pipelines.runtime.images import decode_image
from pipelines.runtime.sidecar import Reject
from schemas import score_config
from schemas.recipe import DecodeConfig
from schemas.score_config import ClipModel, ScoreConfig
from schemas.store.errors import UserError

if TYPE_CHECKING:
    from filters.scores.clip_encoder import ClipEncoder

SCORER_FAILED = "scorer_failed"
NOT_FINITE = "not_finite"
# Images up to here wait for their batch: decoded ones may be kept by a scorer.
NO_IMAGE = (1, 1)  # px, of what stands for the image where no scorer reads it


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreRequest:
    """An image to score, and the numbers of the scorers that it has no scores of."""

    key: str
    body: bytes  # as fetched
    text: str
    scorers: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """The scores of one image, by column."""

    key: str
    values: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Prepared:
    """What scorers and CLIPs made of one image."""

    request: ScoreRequest
    for_scorer: Mapping[int, Any]
    for_clip: Mapping[ClipModel, Any]


@dataclass(kw_only=True)
class ScoreBatches:
    """Scores images in batches that fill across a whole shard.

    Threads decode and prepare images ahead of the device. An image is decoded once, and goes
    through each CLIP once, however many scorers there are.
    """

    config: ScoreConfig
    decode: DecodeConfig
    clock: DeviceClock = field(default_factory=DeviceClock)
    _waiting: dict[tuple[int, ...], list[_Prepared]] = field(default_factory=dict)

    def run(self, requests: Iterable[ScoreRequest]) -> Iterator[Scored | Reject]:
        """Yield the scores of each image, or a reject; in any order."""
        for prepared in prepared_ahead(requests, self._prepare, self.clock):
            if isinstance(prepared, Reject):
                yield prepared
                continue
            asked = prepared.request.scorers
            batch = self._waiting.setdefault(asked, [])
            batch.append(prepared)
            if len(batch) >= most_at_once(self.config.batch_size):
                yield from self._scored(asked, self._waiting.pop(asked))
        while self._waiting:
            yield from self._scored(*self._waiting.popitem())

    @property
    def _scorers(self) -> tuple[Scorer, ...]:
        return loaded_scorers(self.config.scorers, self._device)

    @property
    def _device(self) -> Device:
        return Device(name=device_name(), precision=self.config.precision)

    def _prepare(self, request: ScoreRequest) -> _Prepared | Reject:
        try:
            with active_images(request.key):
                return self._prepared(request)
        except DecodeError as error:
            return Reject(id=request.key, reason=error.reason, detail=error.detail)
        except UserError:  # a model that cannot be loaded, not this image
            raise
        except Exception as error:
            return _failed(request.key, "prepare", error)

    def _prepared(self, request: ScoreRequest) -> _Prepared:
        from PIL import Image

        scorers = {number: self._scorers[number] for number in request.scorers}
        clips = dict.fromkeys(clip for scorer in scorers.values() for clip in scorer.clips)
        reads = bool(clips) or any(scorer.needs_image for scorer in scorers.values())
        image = decode_image(request.body, self.decode) if reads else Image.new("RGB", NO_IMAGE)
        subject = Subject(key=request.key, image=image, text=request.text)
        return _Prepared(
            request=request,
            for_scorer={number: scorer.prepare(subject) for number, scorer in scorers.items()},
            for_clip={clip: self._encoder(clip).prepare(image) for clip in clips},
        )

    def _encoder(self, clip: ClipModel) -> "ClipEncoder":
        from filters.scores.clip_encoder import encoder  # here, because it imports torch

        return encoder(clip, self._device)

    def _scored(
        self, asked: tuple[int, ...], batch: Sequence[_Prepared]
    ) -> Iterator[Scored | Reject]:
        """Score a batch; an image that a scorer cannot take is scored alone, and then rejected."""
        try:
            values = self._values(asked, batch)
        except UserError:
            raise
        except Exception as error:
            if len(batch) == 1:
                yield _failed(batch[0].request.key, "score", error)
                return
            for one in batch:
                yield from self._scored(asked, [one])
            return
        for place, one in enumerate(batch):
            mine = {name: of_all[place] for name, of_all in values.items()}
            wrong = next((name for name, value in mine.items() if not _is_finite(value)), None)
            if wrong:
                detail = f"{wrong} is {mine[wrong]}"
                yield Reject(id=one.request.key, reason=NOT_FINITE, detail=detail[:200])
            else:
                yield Scored(key=one.request.key, values=mine)

    def _values(self, asked: tuple[int, ...], batch: Sequence[_Prepared]) -> dict[str, Any]:
        keys = [one.request.key for one in batch]
        values: dict[str, Any] = {}
        with device_lock, active_images(*keys):
            embeddings = self._embeddings(batch)
            for number in asked:
                scorer = self._scorers[number]
                given = Batch(
                    keys=keys,
                    texts=[one.request.text for one in batch],
                    prepared=[one.for_scorer[number] for one in batch],
                    embeddings=embeddings,
                )
                found = scorer.score(given)
                for column in scorer.columns:
                    if len(found[column.name]) != len(batch):
                        raise ValueError(
                            f"{column.name}: {len(found[column.name])} values of {len(batch)} "
                            "images"
                        )
                    values[column.name] = found[column.name]
        return values

    def _embeddings(self, batch: Sequence[_Prepared]) -> Callable[[ClipModel], NDArray[np.float32]]:
        """Return a function that computes the embeddings of a CLIP the first time it is asked."""

        @cache
        def embeddings(clip: ClipModel) -> NDArray[np.float32]:
            return self._encoder(clip).embed_images([one.for_clip[clip] for one in batch])

        return embeddings  # pyright: ignore[reportReturnType] a frozen model has a hash


@cache
def loaded_scorers(scorers: tuple[score_config.Scorer, ...], device: Device) -> tuple[Scorer, ...]:
    """Return the scorers of this process, which keep their models from shard to shard."""
    return tuple(make_scorer(config, device) for config in scorers)


def _failed(key: str, step: str, error: Exception) -> Reject:
    detail = f"{step}: {type(error).__name__}: {' '.join(str(error).split())}"
    return Reject(id=key, reason=SCORER_FAILED, detail=detail[:500])


def _is_finite(value: Any) -> bool:
    if isinstance(value, float | np.floating):
        return math.isfinite(value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return bool(np.isfinite(value).all())
    return True
