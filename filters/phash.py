"""The perceptual hash, which is similar for near-duplicates."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from filters.signal import THUMBNAIL_SIDE, Column, Record, Values


@dataclass(frozen=True, slots=True, kw_only=True)
class PHash:
    """64-bit DCT hash of the ImageHash library. 0.3 ms after the thumbnail.

    The value is ImageHash's 16 hex digits as an unsigned integer: for each of the 8 x 8 lowest
    frequencies of 32 x 32 pixels, whether it is above their median. The library is given the
    thumbnail, averaged to 64 x 64 pixels. Copies (JPEG, resized) are as near as with whole images.
    """

    least_side: ClassVar[int] = THUMBNAIL_SIDE

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of this signal."""
        return COLUMNS

    def measure(self, records: Sequence[Record]) -> Values:
        """Return one sequence per column, as long as `records` and in the same order."""
        return {"phash": [phash(record.thumbnail()) for record in records]}


def phash(thumbnail: Image.Image) -> int:
    """Return the perceptual hash of a thumbnail (`Record.thumbnail`), 0..2**64-1."""
    import imagehash  # here, because it imports scipy

    found: Any = imagehash.phash(thumbnail.reduce(4))
    bits_8x8: NDArray[np.bool_] = found.hash
    return int.from_bytes(np.packbits(bits_8x8).tobytes(), "big")


def hamming(a: int, b: int) -> int:
    """Count the bits in which two hashes differ, 0..64.

    >>> hamming(0b1100, 0b1010)
    2
    """
    return (a ^ b).bit_count()


COLUMNS = (
    Column(
        name="phash",
        type=pa.uint64(),
        meaning="64-bit perceptual hash (DCT), compared by Hamming distance",
        high=float(2**64),
    ),
)
