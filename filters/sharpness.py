"""The signal of sharpness: the variance of the Laplacian."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from PIL import Image

from filters.signal import Column, Record, Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharpness:
    """Variance of the 4-neighbour Laplacian of the luminance. 2 ms per megapixel.

    Every image, of any shape, is first scaled to `side` x `side` pixels (antialiased, bilinear), so
    that the value does not depend on the resolution: it is the sharpness for a model of that size.
    Source: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000.
    """

    side: int = 256  # pixels

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of this signal."""
        return COLUMNS

    def measure(self, records: Sequence[Record]) -> Values:
        """Return one sequence per column, as long as `records` and in the same order."""
        return {"sharpness": [self._sharpness(record.image) for record in records]}

    def _sharpness(self, image: Image.Image) -> float:
        grey = image.convert("L").resize((self.side, self.side), Image.Resampling.BILINEAR)
        level = np.asarray(grey, dtype=np.int16)
        beside = level[1:-1, :-2] + level[1:-1, 2:] + level[:-2, 1:-1] + level[2:, 1:-1]
        return float((4 * level[1:-1, 1:-1] - beside).var(dtype=np.float64))


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
