"""Two-dimensional rotary positions, with one grid for all scales (Infinity, arXiv 2412.04431).

The first half of a head's channels is rotated by the row, the second by the column. A position of a
small scale has the coordinates of its upper left corner on a reference grid, so that all scales,
and all resolutions of an aspect, share one grid.

Shapes: L positions over all scales, P pairs of channels, half a head's width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from filters.aspects import ASPECTS
from model.tokenizers.protocol import Schedule
from model.tokenizers.schedules import BUDGETS, bsq_schedule

BASE = 10000.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rotation:
    """Cosine and sine of every angle, float32 [L, P]."""

    cos_LP: Tensor
    sin_LP: Tensor

    def __getitem__(self, part: slice) -> "Rotation":
        return Rotation(cos_LP=self.cos_LP[part], sin_LP=self.sin_LP[part])

    def __call__(self, x: Tensor) -> Tensor:
        """Rotate queries or keys [..., L, 2 P]; neighbouring channels are a pair."""
        first, second = x.float().unflatten(-1, (-1, 2)).unbind(-1)
        rotated = (
            first * self.cos_LP - second * self.sin_LP,
            first * self.sin_LP + second * self.cos_LP,
        )
        return torch.stack(rotated, dim=-1).flatten(-2).to(x.dtype)


def rotation(schedule: Schedule, head_width: int, device: torch.device | None = None) -> Rotation:
    """Return the rotations of a schedule's positions; the head width is a multiple of 4."""
    places_L2 = torch.cat([_places(scale, reference_grid(schedule)) for scale in schedule])
    steps = torch.arange(0, head_width // 2, 2) / (head_width // 2)
    angles_LP = (places_L2[:, :, None] / BASE**steps).flatten(1).to(device)
    return Rotation(cos_LP=angles_LP.cos(), sin_LP=angles_LP.sin())


def reference_grid(schedule: Schedule) -> tuple[int, int]:
    """Return the reference grid of a schedule.

    It is the last scale of the 1024 px schedule of the same aspect, so that a model trained at
    256 px has the same grid at 512. For a schedule that is not Infinity's, it is the last scale.

    >>> reference_grid(bsq_schedule(1.25, 256)), reference_grid(((1, 1), (5, 5)))
    ((70, 56), (5, 5))
    """
    for aspect in ASPECTS:
        if schedule in [bsq_schedule(aspect, resolution) for resolution in BUDGETS]:
            return bsq_schedule(aspect, max(BUDGETS))[-1]
    return schedule[-1]


def _places(scale: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    rows, columns = (
        # Halves round to even, as in the published code.
        (torch.arange(size) * (full / size)).round()
        for size, full in zip(scale, grid, strict=True)
    )
    return torch.cartesian_prod(rows, columns).view(-1, 2)
