"""Convolutional encoder and decoder of both tokenizers.

Attribute names are the keys of the published checkpoints (FoundationVision/VAR,
models/basic_vae.py; FoundationVision/Infinity, models/bsq_vae/flux_vqgan.py): renaming one breaks
loading. VAR has attention at the lowest resolution, Infinity has none.

Shapes: B images, C channels, H and W positions, N = H * W.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.tokenizers.group_norm import GroupNorm
from model.tokenizers.winograd import Conv3


class Affine(nn.Module):
    """A scale and a shift per channel, which replaces the norm in small networks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return [B, C, H, W]."""
        return x_BCHW * self.weight[:, None, None] + self.bias[:, None, None]


def _norm(channels: int, groups: int | None) -> nn.Module:
    """Return a norm with `groups`; None for the published rule: 32, or 24 if 32 do not fit."""
    if groups == 0:
        return Affine(channels)
    if groups is None:
        groups = 32 if channels % 32 == 0 else 24
    if channels % groups:
        raise ValueError(f"expected a width that is a multiple of {groups}, got {channels}")
    return GroupNorm(num_groups=groups, num_channels=channels, eps=1e-6)


def _silu(fresh_BCHW: Tensor) -> Tensor:
    """Apply SiLU, in place if no gradient needs the old values."""
    return F.silu(fresh_BCHW, inplace=not torch.is_grad_enabled())


class ResnetBlock(nn.Module):
    """Two normalised convolutions with a shortcut."""

    def __init__(
        self, channels_in: int, channels_out: int, *, norm_groups: int | None = None
    ) -> None:
        super().__init__()
        self.norm1 = _norm(channels_in, norm_groups)
        self.conv1 = Conv3(channels_in, channels_out)
        self.norm2 = _norm(channels_out, norm_groups)
        self.conv2 = Conv3(channels_out, channels_out)
        self.nin_shortcut = (
            nn.Identity()
            if channels_in == channels_out
            else nn.Conv2d(channels_in, channels_out, 1)
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return [B, channels_out, H, W]."""
        h_BCHW = self.conv1(_silu(self.norm1(x_BCHW)))
        h_BCHW = self.conv2(_silu(self.norm2(h_BCHW)))
        return h_BCHW.add_(self.nin_shortcut(x_BCHW))


class AttnBlock(nn.Module):
    """Single-head self-attention over all positions, with a shortcut."""

    def __init__(self, channels: int, *, norm_groups: int | None = None) -> None:
        super().__init__()
        self.norm = _norm(channels, norm_groups)
        self.qkv = nn.Conv2d(channels, 3 * channels, kernel_size=1)
        self.proj_out = nn.Conv2d(channels, channels, kernel_size=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return [B, C, H, W]."""
        qkv_BCN = self.qkv(self.norm(x_BCHW)).flatten(2)
        q_BNC, k_BNC, v_BNC = (part.transpose(1, 2) for part in qkv_BCN.chunk(3, dim=1))
        h_BNC = F.scaled_dot_product_attention(q_BNC, k_BNC, v_BNC)
        return x_BCHW + self.proj_out(h_BNC.transpose(1, 2).reshape(x_BCHW.shape))


class Downsample(nn.Module):
    """Halve height and width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, stride=2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return [B, C, H / 2, W / 2]."""
        return self.conv(F.pad(x_BCHW, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double height and width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv3(channels, channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return [B, C, 2 H, 2 W]."""
        return self.conv(F.interpolate(x_BCHW, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """The blocks of one resolution, each followed by attention if `attention`."""

    def __init__(
        self, widths: Sequence[int], *, attention: bool, norm_groups: int | None = None
    ) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            ResnetBlock(before, after, norm_groups=norm_groups)
            for before, after in pairwise(widths)
        )
        self.attn = nn.ModuleList(
            AttnBlock(width, norm_groups=norm_groups) for width in (widths[1:] if attention else ())
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return [B, widths[-1], H, W]."""
        for i, block in enumerate(self.block):
            x_BCHW = block(x_BCHW)
            if self.attn:
                x_BCHW = self.attn[i](x_BCHW)
        return x_BCHW


class DownLevel(Level):
    """A level of the encoder; halves height and width at its end, but not in the last level."""

    def __init__(
        self,
        widths: Sequence[int],
        *,
        last: bool,
        attention: bool,
        norm_groups: int | None = None,
    ) -> None:
        super().__init__(widths, attention=last and attention, norm_groups=norm_groups)
        self.downsample = nn.Identity() if last else Downsample(widths[-1])

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return [B, widths[-1], H / 2, W / 2], or H and W unchanged at the last level."""
        return self.downsample(super().forward(x_BCHW))


class UpLevel(Level):
    """A level of the decoder; doubles height and width at its end, but not in the last level."""

    def __init__(
        self,
        widths: Sequence[int],
        *,
        first: bool,
        last: bool,
        attention: bool,
        norm_groups: int | None = None,
    ) -> None:
        super().__init__(widths, attention=first and attention, norm_groups=norm_groups)
        self.upsample = nn.Identity() if last else Upsample(widths[-1])

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return [B, widths[-1], 2 H, 2 W], or H and W unchanged at the last level."""
        return self.upsample(super().forward(x_BCHW))


class Middle(nn.Module):
    """The lowest resolution: a block, attention if `attention`, and a block."""

    def __init__(self, channels: int, *, attention: bool, norm_groups: int | None = None) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, norm_groups=norm_groups)
        self.attn_1 = AttnBlock(channels, norm_groups=norm_groups) if attention else nn.Identity()
        self.block_2 = ResnetBlock(channels, channels, norm_groups=norm_groups)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return [B, C, H, W]."""
        return self.block_2(self.attn_1(self.block_1(x_BCHW)))


class Encoder(nn.Module):
    """Maps RGB images to features that are 2 ** (len(ch_mult) - 1) times smaller."""

    def __init__(
        self,
        *,
        ch: int,
        ch_mult: Sequence[int],
        num_res_blocks: int,
        z_channels: int,
        attention: bool,
        norm_groups: int | None = None,
    ) -> None:
        super().__init__()
        widths = [ch * mult for mult in ch_mult]
        inputs = [ch, *widths[:-1]]
        self.conv_in = Conv3(3, ch)
        self.down = nn.ModuleList(
            DownLevel(
                [before, *[width] * num_res_blocks],
                last=i == len(widths) - 1,
                attention=attention,
                norm_groups=norm_groups,
            )
            for i, (before, width) in enumerate(zip(inputs, widths, strict=True))
        )
        self.mid = Middle(widths[-1], attention=attention, norm_groups=norm_groups)
        self.norm_out = _norm(widths[-1], norm_groups)
        self.conv_out = Conv3(widths[-1], z_channels)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Return [B, z_channels, H / 16, W / 16] for five levels."""
        h_BCHW = self.conv_in(images_B3HW)
        for level in self.down:
            h_BCHW = level(h_BCHW)
        return self.conv_out(_silu(self.norm_out(self.mid(h_BCHW))))


class Decoder(nn.Module):
    """Maps features to RGB images; has one block per level more than the encoder."""

    def __init__(
        self,
        *,
        ch: int,
        ch_mult: Sequence[int],
        num_res_blocks: int,
        z_channels: int,
        attention: bool,
        norm_groups: int | None = None,
    ) -> None:
        super().__init__()
        widths = [ch * mult for mult in ch_mult]
        inputs = [*widths[1:], widths[-1]]
        top = len(widths) - 1
        self.conv_in = Conv3(z_channels, widths[-1])
        self.mid = Middle(widths[-1], attention=attention, norm_groups=norm_groups)
        self.up = nn.ModuleList(
            UpLevel(
                [before, *[width] * (num_res_blocks + 1)],
                first=i == top,
                last=i == 0,
                attention=attention,
                norm_groups=norm_groups,
            )
            for i, (before, width) in enumerate(zip(inputs, widths, strict=True))
        )
        self.norm_out = _norm(widths[0], norm_groups)
        self.conv_out = Conv3(widths[0], 3)

    def forward(self, z_BCHW: Tensor) -> Tensor:
        """Return [B, 3, 16 H, 16 W] for five levels, unclamped."""
        h_BCHW = self.mid(self.conv_in(z_BCHW))
        # The checkpoint numbers levels by resolution, so the decoder runs them in reverse.
        for level in reversed(self.up):
            h_BCHW = level(h_BCHW)
        return self.conv_out(_silu(self.norm_out(h_BCHW)))
