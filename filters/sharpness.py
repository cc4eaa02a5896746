"""The signal of sharpness: the variance of the Laplacian."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from filters.signal import THUMBNAIL_SIDE, Column, Record, Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharpness:
    """Variance of the 4-neighbour Laplacian of the luminance. 0.5 to 2 ms.

    Every image, of any shape, is first scaled to `side` x `side` pixels (antialiased, see
    `Record.thumbnail`), so that the value does not depend on the resolution: it is the sharpness
    for a model of that size. Where images are decoded scaled, it is up to a quarter away from that
    of the whole image.
    Source: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000.
    """

    side: int = THUMBNAIL_SIDE  # pixels

    @property
    def least_side(self) -> int:
        """The pixels of a side that it needs."""
        return self.side

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of this signal."""
        return COLUMNS

    def measure(self, records: Sequence[Record]) -> Values:
        """Return one sequence per column, as long as `records` and in the same order."""
        return {"sharpness": [_sharpness(record.thumbnail(self.side)) for record in records]}


def _sharpness(grey: Image.Image) -> float:
    level = np.asarray(grey).astype(np.int16)
    laplacian = 4 * level[1:-1, 1:-1]
    for beside in (level[1:-1, :-2], level[1:-1, 2:], level[:-2, 1:-1], level[2:, 1:-1]):
        laplacian -= beside
    return _variance(laplacian)


def _variance(values: NDArray[np.int16]) -> float:
    """Return the variance; 0 for no value.

    The sums are whole numbers below 2**53, so they are exact in any order, on every machine.
    """
    flat = values.ravel().astype(np.float64)
    total, squares = int(flat.sum()), int(np.square(flat).sum())
    return (flat.size * squares - total**2) / max(1, flat.size) ** 2


COLUMNS = (
    Column(
        name="sharpness",
        type=pa.float64(),
        meaning="variance of the Laplacian at 256 x 256 px, squared grey levels; low is blurred",
        low=0.1,
        high=100_000.0,
        logarithmic=True,
    ),
)
