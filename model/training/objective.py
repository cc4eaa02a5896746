"""What a step minimises, and the likelihood of images and answers, which most stages do.

A step's samples come in micro-batches, over several processes. Each gives its part of the step's
losses, and parts add up to what one large batch would give: means are over the whole step, however
many images or words a micro-batch has.

Shapes: N images, L positions, K elements of a position, U logits a position.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from model.data.batch import IGNORED, Batch
from model.tokenizers.protocol import scale_slices
from model.vargpt.codes import CodeHead
from model.vargpt.guidance import draw_without
from model.vargpt.loss import LossConfig, losses
from model.vargpt.vargpt import Vargpt


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What a micro-batch is part of."""

    number: int  # from 0
    counts: Mapping[str, int]  # as the objective counts, of all micro-batches of all processes


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Losses:
    """A micro-batch's part of a step's losses."""

    total: Tensor  # scalar, with gradient
    scalars: Mapping[str, Tensor]  # to log, without


class Objective(Protocol):
    """What a step minimises."""

    def counts(self, batch: Any) -> dict[str, int]:
        """Count what the means of a step are over."""
        ...

    def __call__(self, model: Vargpt, batch: Any, step: Step | None = None) -> Losses:
        """Return a micro-batch's part; without a step, the micro-batch is all of it."""
        ...


class Likelihood:
    """Words of answers and codes of images, each given all before it.

    Args:
        config: how much each part counts.
        without_rate: share of the images drawn without their context, anew at each step.
    """

    def __init__(self, config: LossConfig, without_rate: float) -> None:
        self._config, self._without_rate = config, without_rate

    def counts(self, batch: Batch) -> dict[str, int]:
        """Count the words and images that are learned."""
        return {
            "words": int((batch.labels_BS[:, 1:] != IGNORED).sum()),
            "images": len(batch.image_rows_N),
        }

    def __call__(self, model: Vargpt, batch: Batch, step: Step | None = None) -> Losses:
        """Return a micro-batch's part."""
        step = step or Step(number=0, counts=self.counts(batch))
        without_N = draw_without(
            batch.keys, batch.image_rows_N, f"step {step.number}", self._without_rate
        )
        output = model(batch, without_N)
        codes = model.config.codes
        words, images = step.counts["words"], step.counts["images"]
        found = losses(output, batch, codes, self._config, words=words, images=images)
        scalars = {"loss/text": found.text.detach(), "loss/image": found.image.detach()}
        with torch.no_grad():
            scalars |= by_scale(output.image_logits_NLU, batch, codes, images)
        return Losses(total=found.total, scalars=scalars)


def by_scale(
    image_logits_NLU: Tensor, batch: Batch, codes: CodeHead, images: int
) -> dict[str, Tensor]:
    """Return how well codes are foretold, scale by scale and bit by bit.

    Losses in nats an element and shares foretold, as parts of a mean over images.

    Args:
        image_logits_NLU: what the model foretold.
        batch: with the targets.
        codes: what a position is.
        images: that the means are over; more than N where the batch is part of a step.
    """
    if not len(image_logits_NLU):
        return {}
    surprise_NLK = codes.surprise(image_logits_NLU, batch.targets_NLK)
    right_NLK = (codes.split(image_logits_NLU).argmax(dim=-1) == batch.targets_NLK).float()
    found: dict[str, Tensor] = {}
    for number, part in enumerate(scale_slices(batch.schedule), start=1):
        found[f"loss/scale {number:02}"] = _part(surprise_NLK[:, part], images)
        found[f"foretold/scale {number:02}"] = _part(right_NLK[:, part], images)
    name = "bit" if codes.choices == 2 else "element"
    for number in range(right_NLK.shape[2]):
        found[f"loss by {name}/{number:02}"] = _part(surprise_NLK[:, :, number], images)
        found[f"foretold by {name}/{number:02}"] = _part(right_NLK[:, :, number], images)
    return found


def _part(values_N: Tensor, images: int) -> Tensor:
    return values_N.flatten(1).mean(dim=1).sum() / images
