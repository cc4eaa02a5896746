"""Captions by any callable."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, cast

from PIL import Image

from filters.captioner import Answer, Asked, EngineError, Unanswered
from filters.scorer import ScorerError
from filters.scores.custom import imported
from schemas.caption_config import CustomEngine


class CustomCaptioner:
    """What a callable answers to images and prompts.

    It is called as `callable(images, prompts)`, with RGB images and as many prompts, and returns as
    many texts. An image is None where the prompt is about texts alone. Whether a text depends on
    its own image and prompt alone is up to it.
    """

    def __init__(self, config: CustomEngine) -> None:
        self._config = config

    def identity(self) -> Mapping[str, Any]:
        """Return the callable's name, and the version that the recipe gives it."""
        return self._config.model_dump(include={"engine", "callable", "version"})

    def answers(self, requests: Iterable[Asked]) -> Iterator[Answer | Unanswered]:
        """Yield an answer for each request, in order.

        Raises:
            EngineError: the callable cannot be imported, or did not return a text for each image.
        """
        for batch in _batches(requests, self._config.batch_size):
            images = [
                Image.open(io.BytesIO(asked.image)) if asked.image else None for asked in batch
            ]
            texts = self._texts(images, [asked.prompt for asked in batch])
            if len(texts) != len(batch):
                place, expected = self._config.callable, len(batch)
                raise EngineError(f"{place} returned {len(texts)}, expected {expected} texts")
            if other := next((text for text in texts if not isinstance(text, str)), None):
                place = self._config.callable
                raise EngineError(f"{place} returned {other!r:.100} among texts, expected a text")
            for asked, text in zip(batch, texts, strict=True):
                yield Answer(
                    digest=asked.digest,
                    status="answered",
                    text=text,
                    finish_reason="stop",
                    model=self._config.callable,
                )

    def _texts(self, images: Sequence[Image.Image | None], prompts: Sequence[str]) -> list[Any]:
        place = self._config.callable
        try:
            called: Any = imported(place, "caption engine")
        except ScorerError as error:
            raise EngineError(str(error)) from error
        try:
            made = called(images, prompts)
            if isinstance(made, str) or not isinstance(made, Iterable):
                kind = type(made).__name__
                raise TypeError(f"returned {kind}, expected {len(prompts)} texts")
            return list(cast(Iterable[Any], made))
        except (Exception, SystemExit) as error:
            raise EngineError(f"caption: {place}: {type(error).__name__}: {error}") from error


def _batches(requests: Iterable[Asked], size: int) -> Iterator[list[Asked]]:
    left = iter(requests)
    while batch := list(islice(left, size)):
        yield batch
