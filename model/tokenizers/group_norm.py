"""Group normalisation that is also exact in the channels-last layout.

Convolutions on a CPU are 1.3 to 1.8 times as fast in channels-last, but torch's GroupNorm is less
exact there (2e-3 in the features of the VAR VQVAE, enough to change codes; torch 2.13). This class
agrees with the contiguous GroupNorm to a few units in the last place.
"""

import math

import torch
from torch import Tensor, nn


class GroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm` with separate code for channels-last tensors on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        """Return [B, C, H, W], in the layout of the input."""
        own = (
            input.device.type == "cpu"
            and not torch.is_grad_enabled()
            and not input.is_contiguous()
            and input.is_contiguous(memory_format=torch.channels_last)
        )
        if not own:
            return super().forward(input)
        return _channels_last(input, self.num_groups, self.weight, self.bias, self.eps)


def _channels_last(
    x_BCHW: Tensor, groups: int, weight_C: Tensor, bias_C: Tensor, eps: float
) -> Tensor:
    batch, channels = x_BCHW.shape[:2]
    per_group = channels // groups
    x_BNC = x_BCHW.permute(0, 2, 3, 1).flatten(1, 2)
    count = x_BNC.shape[1] * per_group

    def mean(of_BNC: Tensor) -> Tensor:
        """Average over positions and the channels of each group, float64 [B, C]."""
        sum_BG = _sum(of_BNC).view(batch, groups, per_group).sum(dim=2)
        return (sum_BG / count).repeat_interleave(per_group, dim=1)

    mean_BC = mean(x_BNC)
    centred_BNC = x_BNC - mean_BC.float()[:, None]
    variance_BC = mean(centred_BNC.square_())
    scale_BC = (variance_BC + eps).rsqrt() * weight_C
    shift_BC = bias_C - mean_BC * scale_BC
    y_BNC = torch.addcmul(shift_BC.float()[:, None], x_BNC, scale_BC.float()[:, None])
    return y_BNC.unflatten(1, x_BCHW.shape[2:]).permute(0, 3, 1, 2)


def _sum(x_BNC: Tensor) -> Tensor:
    """Sum over N, in float32 inside each of K blocks, then in float64; returns [B, C]."""
    positions = x_BNC.shape[1]
    block = math.gcd(positions, 256)
    blocks_BKC = x_BNC.unflatten(1, (positions // block, block)).sum(dim=2, dtype=torch.float32)
    return blocks_BKC.double().sum(dim=1)
