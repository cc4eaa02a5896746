"""Objectives: the loss of a step. Most stages use the likelihood of images and answers.

The samples of a step are split into micro-batches and over processes. Each micro-batch gives a part
of the losses, and the parts add up to the losses of one large batch: means are over the whole step,
not over the images or words of a micro-batch.

Shapes: N images, L positions, K elements per position, U logits per position.
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
    """The step that a micro-batch is part of."""

    number: int  # from 0
    counts: Mapping[str, int]  # sums of `Objective.counts` over all micro-batches and processes


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Losses:
    """A micro-batch's part of a step's losses."""

    total: Tensor  # scalar, with gradient
    scalars: Mapping[str, Tensor]  # for the log, without gradient


class Objective(Protocol):
    """The loss that a step minimises."""

    def counts(self, batch: Any) -> dict[str, int]:
        """Return the numbers of items that losses are averaged over."""
        ...

    def __call__(self, model: Vargpt, batch: Any, step: Step | None = None) -> Losses:
        """Return a micro-batch's part of the losses; without a step, it is the whole step."""
        ...


class Likelihood:
    """The likelihood of answer tokens and image codes, each given all before it.

    Args:
        config: the weights of the parts.
        without_rate: share of the images without context; drawn again at each step.
    """

    def __init__(self, config: LossConfig, without_rate: float) -> None:
        self._config, self._without_rate = config, without_rate

    def counts(self, batch: Batch) -> dict[str, int]:
        """Return the numbers of learnt text tokens and images."""
        return {
            "words": int((batch.labels_BS[:, 1:] != IGNORED).sum()),
            "images": len(batch.image_rows_N),
        }

    def __call__(self, model: Vargpt, batch: Batch, step: Step | None = None) -> Losses:
        """Return a micro-batch's part of the losses."""
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
    """Return loss and accuracy of the predicted codes, per scale and per bit.

    Losses are in nats per element; accuracies are the shares predicted right ("foretold"). Both are
    this batch's parts of a mean over images.

    Args:
        image_logits_NLU: the model's logits.
        batch: holds the targets.
        codes: the layout of a position's elements.
        images: number of images of the mean; more than N if the batch is part of a step.
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
