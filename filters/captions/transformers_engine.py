"""Captions by a model of transformers, on this worker."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

import torch

from filters.captioner import Answer, Asked, EngineError, Unanswered
from filters.captions.model_pin import is_folder, model_sha256
from filters.captions.vision_language import (
    PreparedRow,
    Shape,
    UnpreparedError,
    VisionLanguageModel,
    Written,
    vision_language_model,
)
from schemas.caption_config import TransformersEngine

WAITING_BATCHES: Final = 4  # of rows that wait for others of their shape; 6 MB a row at 512 px


class TransformersCaptioner:
    """What a model of transformers that takes images and text writes.

    Rows of one shape are asked together. Every pass of the network has the same number of rows, as
    in `filters.compute.Passes`; the last of a shape is filled with copies. So an answer depends
    neither on other rows nor on their order. Another size of passes rounds otherwise, which may
    change a word: rarely in fp32, often in bf16.
    """

    def __init__(self, config: TransformersEngine) -> None:
        self._config = config
        self._model: VisionLanguageModel | None = None
        self.size = config.batch_size  # of a pass; halved for good when memory runs out
        self.halvings = 0

    def identity(self) -> Mapping[str, Any]:
        """Return the model, by the sha256 of its folder or its name, and how it is asked.

        Raises:
            EngineError: the folder is not there.
        """
        config = self._config
        if is_folder(config.model):
            model = {"model_sha256": config.model_sha256 or self._sha256()}
        else:
            model = {"model": config.model, "revision": config.revision}
        settings = config.model_dump(include={"engine", "precision", "temperature", "top_p"})
        if config.precision == "bf16":  # its sums depend on the size of a pass, and so do words
            settings["batch_size"] = config.batch_size
        return {**settings, **model, "image": "the JPEG, by the model's own processor"}

    def answers(self, requests: Iterable[Asked]) -> Iterator[Answer | Unanswered]:
        """Yield an answer for each request, of rows of one shape together.

        Raises:
            EngineError: the model is missing or damaged, or has no memory for one image.
        """
        waiting: dict[Shape, list[PreparedRow]] = {}
        for asked in requests:
            try:
                row = self._loaded().prepare(asked)
            except UnpreparedError as error:
                yield self._refused(asked, error)
                continue
            waiting.setdefault(row.shape, []).append(row)
            most = max(waiting, key=lambda shape: len(waiting[shape]))
            rows = sum(map(len, waiting.values()))
            if len(waiting[most]) >= self.size or rows >= WAITING_BATCHES * self.size:
                yield from self._answered(waiting.pop(most))
        for rows_left in waiting.values():
            yield from self._answered(rows_left)

    def _answered(self, rows: Sequence[PreparedRow]) -> Iterator[Answer]:
        while rows:
            part = rows[: self.size]
            try:
                written = self._written(part)
            except torch.OutOfMemoryError as error:
                self._halve(error)
                continue
            for row, found in zip(part, written, strict=True):
                yield self._answer(row, found)
            rows = rows[len(part) :]

    def _written(self, part: Sequence[PreparedRow]) -> list[Written]:
        filled = [*part, *[part[0]] * (self.size - len(part))]
        config = self._config
        written = self._loaded().write(filled, temperature=config.temperature, top_p=config.top_p)
        return written[: len(part)]

    def _halve(self, error: torch.OutOfMemoryError) -> None:
        if self.size == 1:
            raise EngineError(
                f"{self._config.name}: no memory for one image; give precision bf16, a smaller "
                f"image_side, fewer max_new_tokens or a smaller model"
            ) from error
        self.size //= 2
        self.halvings += 1
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _answer(self, row: PreparedRow, found: Written) -> Answer:
        return Answer(
            digest=row.asked.digest,
            status="answered",
            text=found.text,
            finish_reason=found.finish_reason,
            prompt_tokens=row.prompt_tokens,
            completion_tokens=found.tokens,
            model=self._loaded().name,
        )

    def _refused(self, asked: Asked, error: UnpreparedError) -> Answer:
        model = self._loaded().name
        return Answer(digest=asked.digest, status="refused", model=model, detail=str(error))

    @cache  # noqa: B019  # engines stay as long as their process
    def _sha256(self) -> str:
        return model_sha256(self._config)

    def _loaded(self) -> VisionLanguageModel:
        if self._model is None:
            config = self._config
            self._model = vision_language_model(
                config.model, config.revision, config.precision, self._sha256()
            )
        return self._model
