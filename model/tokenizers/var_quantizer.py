"""Multi-scale residual quantizer of the VAR VQVAE.

Every scale quantizes the residual of the previous scales. The residual is shrunk (area) to the
scale's size, each position gets the nearest codebook vector, and the result is enlarged (bicubic),
smoothed by a small convolution (phi) and subtracted. Source: VAR (arXiv 2404.02905), algorithms 1
and 2; FoundationVision/VAR, models/quant.py.

Shapes: B images, C channels, H and W positions of the features, h and w positions of one scale,
n = h * w, L codes over all scales, V codebook entries.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.tokenizers.protocol import Schedule, scale_slices


def phi_index(scale: int, scales: int, phis: int) -> int:
    """Return the number of the shared phi convolution of a scale.

    Scales and convolutions are spread over [0, 1], and the nearest is used. Ties exist (scales 2
    and 7 of 10 with 4 phis) and float64 rounding decides them, so the ticks are computed in the
    same way as in the reference.

    >>> [phi_index(scale, 10, 4) for scale in range(10)]
    [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    """
    margin = 1 / 3 / phis if phis == 4 else 1 / 2 / phis
    ticks = np.linspace(margin, 1 - margin, phis)
    position = scale / (scales - 1) if scales > 1 else 0.0
    return int(np.argmin(np.abs(ticks - position)))


class Phi(nn.Conv2d):
    """The convolution that smooths an enlarged scale, with a shortcut."""

    def __init__(self, channels: int, strength: float) -> None:
        super().__init__(channels, channels, kernel_size=3, padding=1)
        self.strength = strength

    def forward(self, input: Tensor) -> Tensor:
        """Return (1 - strength) * h + strength * conv(h), [B, C, H, W]."""
        return input * (1 - self.strength) + super().forward(input) * self.strength


def _phi(channels: int, strength: float) -> nn.Module:
    # As published: with strength 0 there are no weights.
    return Phi(channels, strength) if strength > 1e-6 else nn.Identity()


class OnePhi(nn.Module):
    """One phi for all scales, with its published key."""

    def __init__(self, phi: nn.Module) -> None:
        super().__init__()
        self.qresi = phi


class SharedPhis(nn.Module):
    """A few phis, each for some neighbouring scales, with their published keys."""

    def __init__(self, phis: Iterable[nn.Module]) -> None:
        super().__init__()
        self.qresi_ls = nn.ModuleList(phis)


class Codebook(nn.Embedding):
    """An embedding that is not initialised on the meta device."""

    def reset_parameters(self) -> None:
        """Draw the vectors, but not on the meta device, where torch imports 900 modules in 5 s."""
        if not self.weight.is_meta:
            super().reset_parameters()


class MultiScaleQuantizer(nn.Module):
    """Maps features to codes and back; holds the codebook.

    Args:
        vocab: V.
        channels: C.
        scales: number of scales in training.
        phis: number of phis that the scales share; 0 for one per scale.
        strength: of a phi, the sign is ignored; 0 for the shortcut alone, without weights.
    """

    ema_vocab_hit_SV: Tensor

    def __init__(
        self, *, vocab: int, channels: int, scales: int, phis: int, strength: float
    ) -> None:
        super().__init__()
        # A training statistic of the published checkpoint; nothing here reads it.
        self.register_buffer("ema_vocab_hit_SV", torch.zeros(scales, vocab))
        self._phis = tuple(_phi(channels, abs(strength)) for _ in range(phis or scales))
        if phis == 0:
            self.quant_resi = nn.ModuleList(self._phis)
        elif phis == 1:
            self.quant_resi = OnePhi(self._phis[0])
        else:
            self.quant_resi = SharedPhis(self._phis)
        self.embedding = Codebook(vocab, channels)

    def phi(self, scale: int, scales: int) -> nn.Module:
        """Return the convolution that scale `scale` of `scales` uses."""
        return self._phis[phi_index(scale, scales, len(self._phis))]

    def encode(self, features_BCHW: Tensor, schedule: Schedule) -> Tensor:
        """Return the codes of all scales, int64 [B, L]; H and W are those of the last scale."""
        rest_BCHW = features_BCHW.clone()
        codes: list[Tensor] = []
        for scale, size in enumerate(schedule):
            codes_Bn = self.nearest(shrink(rest_BCHW, size))
            rest_BCHW -= self.contribution(codes_Bn, scale, schedule)
            codes.append(codes_Bn)
        return torch.cat(codes, dim=1)

    def nearest(self, z_BChw: Tensor) -> Tensor:
        """Return the index of the nearest codebook vector at every position, int64 [B, n]."""
        z_NC = z_BChw.permute(0, 2, 3, 1).flatten(0, 2)
        book_VC = self.embedding.weight
        norms_NV = z_NC.square().sum(dim=1, keepdim=True) + book_VC.square().sum(dim=1)
        distances_NV = torch.addmm(norms_NV, z_NC, book_VC.T, alpha=-2)
        return distances_NV.argmin(dim=1).view(len(z_BChw), -1)

    def contribution(self, codes_Bn: Tensor, scale: int, schedule: Schedule) -> Tensor:
        """Return the contribution of one scale's codes to the features, [B, C, H, W]."""
        size, full = schedule[scale], schedule[-1]
        h_BChw = self.embedding(codes_Bn).transpose(1, 2).unflatten(2, size)
        if size != full:
            h_BChw = F.interpolate(h_BChw, size=full, mode="bicubic")
        return self.phi(scale, len(schedule))(h_BChw.contiguous())

    def partial_sums(self, codes_BL: Tensor, schedule: Schedule) -> Iterator[Tensor]:
        """Yield the sum of the contributions up to each scale, features [B, C, H, W]."""
        sum_BCHW: Tensor | None = None
        for scale, part in enumerate(scale_slices(schedule)):
            h_BCHW = self.contribution(codes_BL[:, part], scale, schedule)
            sum_BCHW = h_BCHW if sum_BCHW is None else sum_BCHW + h_BCHW
            yield sum_BCHW

    def summed_features(self, codes_BL: Tensor, schedule: Schedule) -> Tensor:
        """Return the sum of all scales' contributions (f_hat), [B, C, H, W]."""
        *_, sum_BCHW = self.partial_sums(codes_BL, schedule)
        return sum_BCHW

    def next_scale_inputs(self, codes_BL: Tensor, schedule: Schedule) -> Tensor:
        """Return the inputs of a next-scale model, [B, L - n of the first scale, C].

        The input of a scale is the sum of the previous scales, shrunk (area) to the scale's size.
        """
        sums = self.partial_sums(codes_BL, schedule)
        inputs = [
            shrink(sum_BCHW, size).flatten(2).transpose(1, 2)
            for sum_BCHW, size in zip(sums, schedule[1:], strict=False)
        ]
        return torch.cat(inputs, dim=1)


def shrink(x_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Average areas down to `size`, [B, C, h, w]."""
    if x_BCHW.shape[2:] == size:
        return x_BCHW
    return F.interpolate(x_BCHW, size=size, mode="area")
