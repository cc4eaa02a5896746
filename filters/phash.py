"""The perceptual hash, which is similar for near-duplicates."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from PIL import Image

from filters.signal import Column, Record, Values


@dataclass(frozen=True, slots=True, kw_only=True)
class PHash:
    """64-bit DCT hash of the ImageHash library. 4 ms per megapixel.

    The value is ImageHash's 16 hex digits as an unsigned integer.
    """

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of this signal."""
        return COLUMNS

    def measure(self, records: Sequence[Record]) -> Values:
        """Return one sequence per column, as long as `records` and in the same order."""
        return {"phash": [phash(record.image) for record in records]}


def phash(image: Image.Image) -> int:
    """Return the perceptual hash of an image, 0..2**64-1."""
    import imagehash  # here, because it imports scipy

    return int(str(imagehash.phash(image)), 16)


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
