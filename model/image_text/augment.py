"""Random changes of images for training, in batches, the same for the same seed.

Shapes: B images, S their side, s the side of the result.
"""

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

ZOOM: Final = (0.7, 1.15)  # side of the part that is seen, as a share of the image's
STRETCH: Final = 0.15  # of width against height, in natural logarithm
TURN: Final = 15.0  # degrees, at most
TINTED, GREY, CUT = 0.3, 0.05, 0.3  # shares of the images


def augment(images_B3SS: Tensor, flip_B: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Return changed images in [0, 1], float32 [B, 3, side, side], with white around them.

    Args:
        images_B3SS: uint8.
        flip_B: bool, which images may be mirrored.
        side: px.
        generator: the source of all random numbers.
    """
    count = len(images_B3SS)

    def drawn(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator)

    # Pixels outside an image are sampled as 0, so white is 0 here.
    dark_B3SS = images_B3SS.float() / 255 - 1
    grid = F.affine_grid(_transforms(drawn(5), flip_B), [count, 3, side, side], align_corners=False)
    x = F.grid_sample(dark_B3SS, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    x = (x + 1) * (1 - 0.35 * drawn(3, 1, 1) * (drawn(1, 1, 1) < TINTED))
    x = ((x - 0.6) * (0.7 + 0.5 * drawn(1, 1, 1)) + 0.6).clamp(0, 1)
    x = torch.where(drawn(1, 1, 1) < GREY, x.mean(dim=1, keepdim=True), x)
    return _with_cut(x, drawn(4))


def _transforms(drawn_B5: Tensor, flip_B: Tensor) -> Tensor:
    """Return affine transforms [B, 2, 3] of zoom, stretch, turn, shift and mirror."""
    zoom, stretch, turn, right, down = drawn_B5.unbind(1)
    zoom = ZOOM[0] + (ZOOM[1] - ZOOM[0]) * zoom
    stretch = ((stretch - 0.5) * STRETCH).exp()
    angle = (turn * 2 - 1) * math.radians(TURN)
    mirror = torch.where(flip_B & (torch.frac(turn * 1024) < 0.5), -1.0, 1.0)
    free = (1 - zoom).abs().clamp(min=0.1)
    rows = (
        torch.stack(
            [mirror * zoom * stretch * angle.cos(), -zoom * angle.sin(), (right * 2 - 1) * free], 1
        ),
        torch.stack(
            [mirror * zoom * angle.sin(), zoom / stretch * angle.cos(), (down * 2 - 1) * free], 1
        ),
    )
    return torch.stack(rows, dim=1)


def _with_cut(x_B3ss: Tensor, drawn_B4: Tensor) -> Tensor:
    """Whiten a rectangle of some images, up to a fifth of the side each way around its centre."""
    side = x_B3ss.shape[-1]
    steps = (torch.arange(side) + 0.5) / side
    across = (steps - drawn_B4[:, :1]).abs() < 0.2 * drawn_B4[:, 2:3]
    down = (steps - drawn_B4[:, 1:2]).abs() < 0.2
    cut_Bss = down[:, :, None] & across[:, None, :] & (drawn_B4[:, 3] < CUT)[:, None, None]
    return torch.where(cut_Bss[:, None], 1.0, x_B3ss)
