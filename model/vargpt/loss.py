"""The training loss, and the log-likelihoods that preferences are learned from.

Shapes: N images, L positions, K elements of a position, T text targets, V vocabulary.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from model.data.batch import Batch
from model.tokenizers.protocol import Schedule, count_codes
from model.vargpt.codes import CodeHead
from model.vargpt.masks import scale_of
from model.vargpt.vargpt import Output

ScaleWeights = Literal["infinity", "uniform"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """How much each part counts."""

    image: float = 3.0  # beside 1 for text
    scales: ScaleWeights = "infinity"  # or uniform, which is what VAR and the released code do


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Losses:
    """The loss of a batch and its parts, scalars; a part that the batch does not have is 0."""

    total: Tensor
    text: Tensor  # nats a target, mean
    image: Tensor  # nats an element, mean over elements, weighted over positions, mean over images


def losses(
    output: Output,
    batch: Batch,
    codes: CodeHead,
    config: LossConfig,
    *,
    words: int | None = None,
    images: int | None = None,
) -> Losses:
    """Return the losses of a batch.

    Args:
        output: of the model.
        batch: that it was given.
        codes: what a position is.
        config: how much each part counts.
        words: text targets that the mean is over, where the batch is part of a larger one, of whose
            losses the parts then add up to the whole's; None for the batch's own.
        images: likewise.
    """
    words = len(output.text_targets_T) if words is None else words
    images = len(batch.targets_NLK) if images is None else images
    text = text_surprise(output).sum() / max(1, words)
    image = text * 0
    if len(batch.targets_NLK):
        image = _image_loss(output, batch, codes, config) / max(1, images)
    return Losses(total=text + config.image * image, text=text, image=image)


def _image_loss(output: Output, batch: Batch, codes: CodeHead, config: LossConfig) -> Tensor:
    weights_L = position_weights(batch.schedule, config.scales, output.image_logits_NLU.device)
    surprise_NLK = codes.surprise(output.image_logits_NLU, batch.targets_NLK)
    return (surprise_NLK.mean(dim=2) * weights_L).sum()


def text_surprise(output: Output) -> Tensor:
    """Return -log p of each text target, float32 [T], in nats."""
    return F.cross_entropy(output.text_logits_TV.float(), output.text_targets_T, reduction="none")


def image_log_likelihood(output: Output, batch: Batch, codes: CodeHead) -> Tensor:
    """Return log p of each image given all that stands before it, float64 [N], in nats.

    A sum over all elements: 16,672 bits at 256 px, 80,672 at 512, of d32. Float32 holds such a sum
    to a few thousandths, and preferences are learned from small differences of two.
    """
    surprise_NLK = codes.surprise(output.image_logits_NLU, batch.targets_NLK)
    return -surprise_NLK.sum(dim=(1, 2), dtype=torch.float64)


def position_weights(
    schedule: Schedule, kind: ScaleWeights, device: torch.device | None = None
) -> Tensor:
    """Return how much each position counts, float32 [L] that sum to 1.

    `infinity`: in inverse proportion to the square root of its scale's area, so that a scale of n
    by n counts as n in all (FoundationVision/Infinity, trainer.py).

    >>> position_weights(((1, 1), (2, 2)), "infinity").mul(3).tolist()
    [1.0, 0.5, 0.5, 0.5, 0.5]
    """
    if kind == "uniform":
        return torch.full((count_codes(schedule),), 1 / count_codes(schedule), device=device)
    areas = torch.tensor([float(height * width) for height, width in schedule], device=device)
    weights_L = areas.rsqrt()[scale_of(schedule, device)]
    return weights_L / weights_L.sum()
