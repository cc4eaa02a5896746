"""The training loss, and the log-likelihoods for preference learning.

Shapes: N images, L positions, K elements per position, T text targets, V vocabulary.
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
    """The weights of the parts of the loss."""

    image: float = 3.0  # the weight of text is 1
    scales: ScaleWeights = "infinity"  # or uniform, as in VAR and the released code


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Losses:
    """The loss of a batch and its parts, scalars; a missing part is 0."""

    total: Tensor
    text: Tensor  # nats per target, mean
    image: Tensor  # nats per element: mean over elements, weighted by position, mean over images


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
        batch: input of the model.
        codes: the layout of a position's elements.
        config: weights of the parts.
        words: number of text targets to average over. For a part of a larger batch, the number of
            the whole: the losses of the parts then add up. None for the batch's own number.
        images: number of images to average over, likewise.
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
    """Return log p of each image given all tokens before it, float64 [N], in nats.

    A sum over all elements: with d32, 16,672 bits at 256 px and 80,672 at 512. Float32 holds such a
    sum to a few thousandths, which is too coarse for the small differences of preferences.
    """
    surprise_NLK = codes.surprise(output.image_logits_NLU, batch.targets_NLK)
    return -surprise_NLK.sum(dim=(1, 2), dtype=torch.float64)


def position_weights(
    schedule: Schedule, kind: ScaleWeights, device: torch.device | None = None
) -> Tensor:
    """Return the weight of each position, float32 [L] that sum to 1.

    `infinity`: proportional to 1 / sqrt(area of the scale), so that a scale of n by n weighs n in
    total (FoundationVision/Infinity, trainer.py).

    >>> position_weights(((1, 1), (2, 2)), "infinity").mul(3).tolist()
    [1.0, 0.5, 0.5, 0.5, 0.5]
    """
    if kind == "uniform":
        return torch.full((count_codes(schedule),), 1 / count_codes(schedule), device=device)
    areas = torch.tensor([float(height * width) for height, width in schedule], device=device)
    weights_L = areas.rsqrt()[scale_of(schedule, device)]
    return weights_L / weights_L.sum()
