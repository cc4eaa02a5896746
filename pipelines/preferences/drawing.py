"""Drawing of prompts in batches of one shape, and scoring of the images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from model.preferences.sampling import Drawn
from pipelines.preferences.inputs import Prepare, Prepared
from pipelines.preferences.tools import Tools
from pipelines.runtime.device import device_lock
from pipelines.runtime.sidecar import Reject
from schemas.recipe import DecodeConfig
from schemas.store.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Settings of drawing, applied to rows of prompts."""

    store: Storage  # relative paths of images start here
    decode: DecodeConfig
    samples: int  # images a prompt
    batch: int  # images drawn at once
    with_given: bool  # also read the image that a prompt came with

    def __call__(
        self, rows: Sequence[dict[str, Any]], loaded: Tools, rejects: list[Reject]
    ) -> Iterator[tuple[Prepared, list[Drawn]]]:
        """Yield each prompt with its images; append prompts that cannot be drawn to `rejects`."""
        prepare = Prepare(
            tools=loaded,
            store=self.store,
            decode=self.decode,
            samples=self.samples,
            with_given=self.with_given,
        )
        prompts = max(1, self.batch // self.samples)
        for aspect in sorted({row["aspect"] for row in rows}):
            waiting: list[Prepared] = []
            rows_of_aspect = [row for row in rows if row["aspect"] == aspect]
            for number, row in enumerate(rows_of_aspect, start=1):
                with device_lock:
                    prepared = prepare(row)
                if isinstance(prepared, Reject):
                    rejects.append(prepared)
                else:
                    waiting.append(prepared)
                if waiting and (len(waiting) == prompts or number == len(rows_of_aspect)):
                    yield from _draw(waiting, loaded, aspect)
                    waiting = []


def _draw(
    batch: Sequence[Prepared], loaded: Tools, aspect: float
) -> list[tuple[Prepared, list[Drawn]]]:
    prompts = [prepared.prompt for prepared in batch]
    with device_lock:
        drawn = loaded.sampler.draw(prompts, loaded.tokenizer(aspect))
    return list(zip(batch, drawn, strict=True))


def scores_of(prepared: Prepared, drawn: Sequence[Drawn], loaded: Tools) -> list[float]:
    """Return scores of the drawn images, then of the given one if any; [] without a scorer.

    Raises:
        ScorerError: the scorer does not return one number an image.
    """
    if loaded.scorer is None:
        return []
    images = [each.image for each in drawn]
    images += [] if prepared.given is None else [prepared.given]
    with device_lock:
        return list(loaded.scorer(images, [prepared.row["text"]] * len(images)))
