"""How much one image differs from another, as an edited image from its source."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from filters.phash import hamming, phash
from filters.signal import Record

SIDE = 64  # px, both images are compared at SIDE x SIDE
CELLS = 16  # cells a side


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Differences of two images, both stretched to a square."""

    distance: int  # bits of 64 in which their pHashes differ
    change: float  # mean absolute difference of R, G and B, 0 to 255 levels
    most_change: float  # the same of the cell of a 16 x 16 grid where it is largest


def image_change(one: Record, other: Record) -> Change:
    """Compare two images.

    A small object that was added changes one cell and hardly the mean; a change of light changes
    all cells alike.
    """
    levels_HW = np.abs(_square(one) - _square(other)).mean(axis=2)
    step = SIDE // CELLS
    cells = levels_HW.reshape(CELLS, step, CELLS, step).mean(axis=(1, 3))
    return Change(
        distance=hamming(phash(one), phash(other)),
        change=float(np.float32(levels_HW.mean())),
        most_change=float(np.float32(cells.max())),
    )


def _square(record: Record) -> NDArray[np.float64]:
    small = record.image.resize((SIDE, SIDE), box=record.box, reducing_gap=3.0)
    return np.asarray(small.convert("RGB"), np.float64)
