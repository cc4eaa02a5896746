"""Objectives of a tokenizer: reconstruct the input through a trainable quantizer.

Shapes: B images, C channels, H and W positions of the features, n positions of one scale, V
codebook entries.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.tokenizers import bsq_quantizer
from model.tokenizers.bsq_network import BsqNetwork
from model.tokenizers.protocol import Schedule
from model.tokenizers.var_network import VarNetwork
from model.tokenizers.var_quantizer import MultiScaleQuantizer, shrink

HIT_DECAY: Final = 0.99  # per step, of the positions that a codebook entry gets
BIT_SHARPNESS: Final = 100.0  # of the soft bits in the entropy loss, as in Infinity

Perceptual = Callable[[Tensor, Tensor], Tensor]
"""Distance of two batches of images [B, 3, H, W] in [-1, 1], a scalar."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossWeights:
    """The weights of the loss terms."""

    l1: float = 0.2
    l2: float = 1.0
    commitment: float = 0.25  # VAR: of features to codes; the weight of codes to features is 1
    entropy: float = 0.02  # BSQ: each bit certain, and 0 and 1 equally frequent
    perceptual: float = 0.1


class Objective(Protocol):
    """A network with its quantizer, for training."""

    @property
    def network(self) -> nn.Module:
        """The network to train."""
        ...

    def __call__(self, images_B3HW: Tensor, schedule: Schedule) -> tuple[Tensor, Tensor]:
        """Return the reconstructed images [B, 3, H, W] and the quantizer's loss."""
        ...

    def after_step(self, step: int) -> None:
        """Update values that have no gradients."""
        ...


class BsqObjective:
    """The objective of BSQ: bits by straight-through signs, and an entropy loss.

    The entropy loss makes every bit certain, and 0 and 1 equally frequent over the batch
    (arXiv 2406.07548, section 3).
    """

    def __init__(self, network: BsqNetwork, weights: LossWeights) -> None:
        self.network = network
        self._weights = weights

    def __call__(self, images_B3HW: Tensor, schedule: Schedule) -> tuple[Tensor, Tensor]:
        """Return the images drawn again, [B, 3, H, W], and the quantizer's own loss."""
        h_BCHW = self.network.encode(images_B3HW)
        with torch.no_grad():
            bits_BLd = bsq_quantizer.encode(h_BCHW, schedule)
            sums = bsq_quantizer.partial_sums(bits_BLd, schedule)
        loss = self._weights.commitment * F.mse_loss(h_BCHW, sums[-1])
        loss = loss + self._weights.entropy * self._entropy(h_BCHW, sums, schedule)
        return self.network.decode(h_BCHW + (sums[-1] - h_BCHW).detach()), loss

    def _entropy(self, h_BCHW: Tensor, sums: Sequence[Tensor], schedule: Schedule) -> Tensor:
        loss = h_BCHW.new_zeros(())
        for scale, size in enumerate(schedule):
            rest_BCHW = h_BCHW - sums[scale - 1] if scale else h_BCHW
            unit_Bdhw = F.normalize(bsq_quantizer.shrink(rest_BCHW, size), dim=1)
            soft_Bdhw = torch.sigmoid(2 * BIT_SHARPNESS * unit_Bdhw / unit_Bdhw.shape[1] ** 0.5)
            used_d = soft_Bdhw.mean(dim=(0, 2, 3))
            loss = loss + _binary_entropy(soft_Bdhw).mean() - _binary_entropy(used_d).mean()
        return loss / len(schedule)

    def after_step(self, step: int) -> None:
        """Do nothing: there is no codebook."""


class VarObjective:
    """The objective of VAR: nearest codebook vectors, with gradients to features and vectors.

    Rarely used entries are replaced by residuals of the last batch (arXiv 2404.02905, section 3.3).
    """

    def __init__(
        self, network: VarNetwork, weights: LossWeights, *, revive_every: int = 50
    ) -> None:
        self.network = network
        self._weights = weights
        self._revive_every = revive_every
        self._residuals_NC = torch.empty(0)

    def __call__(self, images_B3HW: Tensor, schedule: Schedule) -> tuple[Tensor, Tensor]:
        """Return the images drawn again, [B, 3, H, W], and the quantizer's own loss."""
        quantizer: MultiScaleQuantizer = self.network.quantize
        f_BCHW = self.network.encode(images_B3HW)
        sum_BCHW = torch.zeros_like(f_BCHW)
        loss = f_BCHW.new_zeros(())
        seen: list[Tensor] = []
        for scale, size in enumerate(schedule):
            with torch.no_grad():
                z_BChw = shrink(f_BCHW - sum_BCHW, size)
                codes_Bn = quantizer.nearest(z_BChw)
                seen.append(z_BChw.permute(0, 2, 3, 1).flatten(0, 2))
                self._count(codes_Bn, scale, len(schedule))
            sum_BCHW = sum_BCHW + quantizer.contribution(codes_Bn, scale, schedule)
            loss = loss + F.mse_loss(sum_BCHW, f_BCHW.detach())
            loss = loss + self._weights.commitment * F.mse_loss(f_BCHW, sum_BCHW.detach())
        self._residuals_NC = torch.cat(seen)
        drawn = self.network.decode(f_BCHW + (sum_BCHW - f_BCHW).detach())
        return drawn, loss / len(schedule)

    def after_step(self, step: int) -> None:
        """Replace rarely used entries by the last batch's residuals, every `revive_every` steps."""
        if step % self._revive_every == 0:
            self._revive(step)

    def _count(self, codes_Bn: Tensor, scale: int, scales: int) -> None:
        hits_SV = self.network.quantize.ema_vocab_hit_SV
        # A shorter schedule trains the same weights: count its scales in the matching rows.
        row = round(scale * (len(hits_SV) - 1) / max(1, scales - 1))
        hits_V = torch.bincount(codes_Bn.flatten(), minlength=hits_SV.shape[1]).to(hits_SV)
        hits_SV[row].mul_(HIT_DECAY).add_(hits_V, alpha=1 - HIT_DECAY)

    @torch.no_grad()
    def _revive(self, step: int) -> None:
        quantizer = self.network.quantize
        hits_V = quantizer.ema_vocab_hit_SV.sum(dim=0)
        unused_U = (hits_V < 0.02 * hits_V.mean()).nonzero().flatten()
        if not len(unused_U):
            return
        generator = torch.Generator().manual_seed(step)
        picked_U = torch.randint(len(self._residuals_NC), unused_U.shape, generator=generator)
        quantizer.embedding.weight[unused_U] = self._residuals_NC[picked_U]
        # Set an average count, so that the new entry is not replaced at once.
        quantizer.ema_vocab_hit_SV[:, unused_U] = quantizer.ema_vocab_hit_SV.mean(1, keepdim=True)


def reconstruction_loss(
    drawn_B3HW: Tensor, images_B3HW: Tensor, weights: LossWeights, perceptual: Perceptual | None
) -> Tensor:
    """Return the distance of the reconstructed images from the originals, a scalar."""
    loss = weights.l1 * F.l1_loss(drawn_B3HW, images_B3HW)
    loss = loss + weights.l2 * F.mse_loss(drawn_B3HW, images_B3HW)
    if perceptual is not None:
        loss = loss + weights.perceptual * perceptual(drawn_B3HW, images_B3HW)
    return loss


def _binary_entropy(p: Tensor) -> Tensor:
    p = p.clamp(1e-6, 1 - 1e-6)
    return -(p * p.log() + (1 - p) * (1 - p).log())
