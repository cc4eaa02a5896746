"""Infinity's dynamic resolution: the scales for each aspect and pixel budget.

The table is from FoundationVision/Infinity, infinity/utils/dynamic_resolution.py. Aspects are
always height / width. VAR's square schedules are in sizes.py.
"""

from typing import Final

from filters.aspects import ASPECTS
from model.tokenizers.protocol import Schedule
from schemas.store.errors import SettingsError

CODE_PIXELS: Final = 16
"""Side of the image area of one code of the last scale, in pixels."""

BUDGETS: Final = {256: "0.06M", 512: "0.25M", 768: "0.60M", 1024: "1M"}
"""Infinity's name of every pixel budget, by the side in pixels of its square image."""

# 128 is not in Infinity: its first scales, for models that are small enough to train on a CPU.
_SCALES_OF_BUDGET: Final = {128: 5, 256: 7, 512: 10, 768: 12, 1024: 13}

# Heights, then widths, of the 13 scales of the largest budget, for square and tall shapes. A wide
# shape is a tall shape with height and width swapped.
_TALL: Final = {
    1.0: (
        (1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64),
        (1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64),
    ),
    1.25: (
        (1, 2, 3, 5, 10, 15, 20, 25, 30, 35, 45, 55, 70),
        (1, 2, 3, 4, 8, 12, 16, 20, 24, 28, 36, 44, 56),
    ),
    1.333: (
        (1, 2, 4, 8, 12, 16, 20, 24, 28, 36, 48, 60, 72),
        (1, 2, 3, 6, 9, 12, 15, 18, 21, 27, 36, 45, 54),
    ),
    1.5: (
        (1, 2, 3, 6, 9, 15, 21, 27, 33, 39, 48, 63, 78),
        (1, 2, 2, 4, 6, 10, 14, 18, 22, 26, 32, 42, 52),
    ),
    1.75: (
        (1, 2, 3, 7, 11, 14, 21, 28, 35, 42, 56, 70, 84),
        (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48),
    ),
    2.0: (
        (1, 2, 4, 6, 10, 16, 22, 30, 38, 46, 60, 74, 90),
        (1, 2, 2, 3, 5, 8, 11, 15, 19, 23, 30, 37, 45),
    ),
    2.5: (
        (1, 2, 5, 10, 15, 20, 25, 30, 40, 50, 65, 80, 100),
        (1, 2, 2, 4, 6, 8, 10, 12, 16, 20, 26, 32, 40),
    ),
    3.0: (
        (1, 2, 6, 9, 15, 21, 27, 36, 45, 54, 72, 90, 111),
        (1, 2, 2, 3, 5, 7, 9, 12, 15, 18, 24, 30, 37),
    ),
}


def _all_shapes() -> dict[float, Schedule]:
    """Return the full schedule of every aspect in Infinity's order: each tall one, then swapped."""
    shapes: dict[float, Schedule] = {}
    for tall, (heights, widths) in _TALL.items():
        shapes[tall] = tuple(zip(heights, widths, strict=True))
        # Infinity names the swapped shape by the reciprocal, cut to three digits, so 0.666.
        # The square is its own swapped shape.
        shapes[int(1000 / tall) / 1000] = tuple(zip(widths, heights, strict=True))
    return shapes


_SHAPES: Final = _all_shapes()

assert tuple(_SHAPES) == ASPECTS


def bsq_schedule(aspect: float, resolution: int) -> Schedule:
    """Return the scales of an aspect at a pixel budget, without patchifying.

    Args:
        aspect: height / width, one of `ASPECTS`.
        resolution: the budget, given as the side of its square image in pixels; one of `BUDGETS`,
            or 128.

    Raises:
        SettingsError: aspect or resolution are unknown.

    >>> bsq_schedule(1.25, 256)
    ((1, 1), (2, 2), (3, 3), (5, 4), (10, 8), (15, 12), (20, 16))
    """
    if aspect not in _SHAPES:
        raise SettingsError(f"unknown aspect {aspect} (height / width), expected one of {ASPECTS}")
    if resolution not in _SCALES_OF_BUDGET:
        known = sorted(_SCALES_OF_BUDGET)
        raise SettingsError(f"unknown resolution {resolution}, expected one of {known}")
    return _SHAPES[aspect][: _SCALES_OF_BUDGET[resolution]]


def pixel_size(aspect: float, resolution: int) -> tuple[int, int]:
    """Return (height, width) in pixels of the images of an aspect at a budget.

    Aspect and number of pixels are approximate.

    Raises:
        SettingsError: as `bsq_schedule`.

    >>> pixel_size(1.25, 512)
    (560, 448)
    """
    height, width = bsq_schedule(aspect, resolution)[-1]
    return height * CODE_PIXELS, width * CODE_PIXELS


def double(schedule: Schedule) -> Schedule:
    """Return a patchified tokenizer's schedule for the schedule of its transformer.

    The transformer reads each 2 x 2 block of codes as one position (apply_spatial_patchify in
    Infinity); the image has the same size in pixels.

    >>> double(((1, 1), (5, 4)))
    ((2, 2), (10, 8))
    """
    return tuple((2 * height, 2 * width) for height, width in schedule)
