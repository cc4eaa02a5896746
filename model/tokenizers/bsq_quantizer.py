"""Multi-scale binary spherical quantizer of Infinity (arXiv 2412.04431, section 3.2).

Every scale quantizes the residual of the previous scales. The residual is shrunk (area) to the
scale's size, each position is normalised to unit length, and the sign of each channel is a bit. The
bits name a corner of a cube, also of unit length, which is enlarged (trilinear) and subtracted.
There is no codebook and nothing is learned.

Source: FoundationVision/Infinity, models/bsq_vae/multiscale_bsq.py and
models/bitwise_self_correction.py. The operations, even the five-dimensional interpolation, have the
reference's order, because a bit can depend on the last digit of a float.

Shapes: B images, d channels and bits, H and W positions of the features, h and w positions of one
scale, n = h * w, L positions over all scales.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from model.tokenizers.protocol import Schedule, scale_slices

Shrink = Literal["trilinear", "area"]


def signs(z_Bdhw: Tensor) -> Tensor:
    """Return the bits of features of a scale's size, bool [B, n, d]; exactly 0 gives bit 0."""
    return (_on_sphere(z_Bdhw) > 0).flatten(2).transpose(1, 2)


def margins(z_Bdhw: Tensor) -> Tensor:
    """Return the distance of each channel from 0, [B, n, d], on a sphere of radius 1."""
    return _on_sphere(z_Bdhw).abs().flatten(2).transpose(1, 2)


def corners(bits_Bnd: Tensor) -> Tensor:
    """Return the unit vectors of bits, float32 [B, n, d]."""
    side = bits_Bnd.shape[-1] ** 0.5
    return F.normalize(2 * (bits_Bnd.float() / side) - 1 / side, dim=-1)


def contribution(bits_Bnd: Tensor, size: tuple[int, int], full: tuple[int, int]) -> Tensor:
    """Return the contribution of one scale's bits to the features, [B, d, H, W]."""
    return _enlarge(corners(bits_Bnd).transpose(1, 2).unflatten(2, size), full)


def encode(features_BdHW: Tensor, schedule: Schedule) -> Tensor:
    """Return the bits of all scales, bool [B, L, d]; H and W are those of the last scale."""
    rest_BdHW = features_BdHW
    bits: list[Tensor] = []
    for size in schedule:
        z_Bdhw = shrink(rest_BdHW, size)
        unit_Bdhw = _on_sphere(z_Bdhw)
        bits.append((unit_Bdhw > 0).flatten(2).transpose(1, 2))
        side = features_BdHW.shape[1] ** 0.5
        corner_Bdhw = torch.where(unit_Bdhw > 0, 1 / side, -1 / side)
        # The reference's straight-through estimator; its rounding changes the next residual.
        corner_Bdhw = unit_Bdhw + (corner_Bdhw - unit_Bdhw)
        rest_BdHW = rest_BdHW - _enlarge(corner_Bdhw, schedule[-1])
    return torch.cat(bits, dim=1)


def partial_sums(bits_BLd: Tensor, schedule: Schedule) -> list[Tensor]:
    """Return the sum of the contributions up to each scale, features [B, d, H, W]."""
    sums: list[Tensor] = []
    for part, size in zip(scale_slices(schedule), schedule, strict=True):
        added_BdHW = contribution(bits_BLd[:, part], size, schedule[-1])
        sums.append(sums[-1] + added_BdHW if sums else added_BdHW)
    return sums


def next_scale_inputs(
    sums_BdHW: Sequence[Tensor], schedule: Schedule, mode: Shrink = "trilinear"
) -> list[Tensor]:
    """Return the inputs of a next-scale model at each scale but the first, [B, d, h, w].

    Args:
        sums_BdHW: of each scale, from `partial_sums`.
        schedule: size of every scale.
        mode: `trilinear` in training and generation; `area` as in the reference's encoder, whose
            inputs differ by up to 0.16 and are not used in training.
    """
    return [
        _resize(sum_BdHW, size, mode)
        for sum_BdHW, size in zip(sums_BdHW, schedule[1:], strict=False)
    ]


def self_correct(
    features_BdHW: Tensor, schedule: Schedule, flips_BLd: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Quantize with flipped bits, so that later scales learn to correct earlier mistakes.

    A flipped bit changes the sum that later scales correct, and so their labels. Its own label is
    the bit before the flip (bitwise self-correction, section 3.4).

    Args:
        features_BdHW: output of the encoder.
        schedule: size of every scale.
        flips_BLd: bool, bits to flip.

    Returns:
        the labels, bool [B, L, d], and the sums [B, d, H, W] of the flipped codes up to each
        scale.
    """
    labels: list[Tensor] = []
    sums: list[Tensor] = []
    for part, size in zip(scale_slices(schedule), schedule, strict=True):
        rest_BdHW = features_BdHW - sums[-1] if sums else features_BdHW
        label_Bnd = signs(shrink(rest_BdHW, size))
        labels.append(label_Bnd)
        added_BdHW = contribution(label_Bnd ^ flips_BLd[:, part], size, schedule[-1])
        sums.append(sums[-1] + added_BdHW if sums else added_BdHW)
    return torch.cat(labels, dim=1), sums


def self_correct_bits(
    bits_BLd: Tensor, schedule: Schedule, flips_BLd: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Approximate `self_correct` from bits instead of features.

    The bits give the signs of a scale's residual; its magnitudes are estimated from the sum over
    all scales. Flips change the residual by their contribution to the sum, which is known. Without
    flips the labels are the bits.

    Returns:
        labels and sums, as `self_correct`.
    """
    clean = partial_sums(bits_BLd, schedule)
    labels: list[Tensor] = []
    sums: list[Tensor] = []
    for scale, (part, size) in enumerate(zip(scale_slices(schedule), schedule, strict=True)):
        label_Bnd = bits_BLd[:, part]
        if scale:
            # Clamped: codes of +-1/sqrt(d) often cancel out, and 0 would lose the sign.
            left_Bdhw = shrink(clean[-1] - clean[scale - 1], size).abs().clamp(min=1e-6)
            sign_Bdhw = 2.0 * label_Bnd.transpose(1, 2).unflatten(2, size) - 1
            moved_BdHW = clean[scale - 1] - sums[-1]
            label_Bnd = signs(sign_Bdhw * left_Bdhw + shrink(moved_BdHW, size))
        labels.append(label_Bnd)
        added_BdHW = contribution(label_Bnd ^ flips_BLd[:, part], size, schedule[-1])
        sums.append(sums[-1] + added_BdHW if sums else added_BdHW)
    return torch.cat(labels, dim=1), sums


def shrink(x_BdHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Average areas down to `size`, [B, d, h, w]."""
    if x_BdHW.shape[2:] == size:
        return x_BdHW
    return _resize(x_BdHW, size, "area")


def _on_sphere(z_Bdhw: Tensor) -> Tensor:
    return F.normalize(z_Bdhw.movedim(1, -1), dim=-1).movedim(-1, 1)


def _enlarge(code_Bdhw: Tensor, size: tuple[int, int]) -> Tensor:
    return _resize(code_Bdhw, size, "trilinear")


def _resize(x_BdHW: Tensor, size: tuple[int, int], mode: Shrink) -> Tensor:
    return F.interpolate(x_BdHW.unsqueeze(2), size=(1, *size), mode=mode).squeeze(2)
