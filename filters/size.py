"""The signals of size: pixels of an image and bytes of its file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from filters.signal import Column, Record, Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Width and height after EXIF rotation, and values that follow from them. Costs nothing."""

    least_side: ClassVar[int] = 0

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of this signal."""
        return COLUMNS

    def measure(self, records: Sequence[Record]) -> Values:
        """Return one sequence per column, as long as `records` and in the same order."""
        sizes = [record.size for record in records]
        return {
            "width": [width for width, _ in sizes],
            "height": [height for _, height in sizes],
            "short_side": [min(size) for size in sizes],
            "aspect": [width / height for width, height in sizes],
            "pixels": [width * height for width, height in sizes],
            "file_bytes": [record.file_bytes for record in records],
        }


def _log(name: str, type_: pa.DataType, meaning: str, low: float, high: float) -> Column:
    return Column(name=name, type=type_, meaning=meaning, low=low, high=high, logarithmic=True)


COLUMNS = (
    _log("width", pa.int32(), "upright image, px", 16, 16384),
    _log("height", pa.int32(), "upright image, px", 16, 16384),
    _log("short_side", pa.int32(), "the smaller of width and height, px", 16, 16384),
    _log("aspect", pa.float64(), "width / height", 0.1, 10),
    _log("pixels", pa.int64(), "width times height, px", 256, 2**27),
    _log("file_bytes", pa.int64(), "size of the image file as fetched, bytes", 256, 2**26),
)
