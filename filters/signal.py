"""Signals: measured values with a name, a type and a unit, without thresholds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, TypeAlias

import pyarrow as pa
from PIL import Image

Values: TypeAlias = Mapping[str, Sequence[float | int | bool | str]]


THUMBNAIL_SIDE = 256  # pixels


@dataclass(frozen=True, kw_only=True)
class Record:
    """The input of signals: one decoded image with its texts.

    `image` may be smaller than the file says, see `suffices`. What several signals need is made
    once, when the first asks for it.
    """

    image: Image.Image  # RGB, upright, alpha flattened
    file_bytes: int  # size of the image as fetched
    text: str  # alt text, prompt or description as listed
    title: str
    tags: tuple[str, ...]
    full_size: tuple[int, int] | None = None  # width and height of a scaled image's file, upright
    # Left, top, right and bottom of the picture in `image`, see `filters.decode.Scaled`; None: all.
    box: tuple[float, float, float, float] | None = None
    _thumbnails: dict[int, Image.Image] = field(
        default_factory=dict[int, Image.Image], init=False, repr=False, compare=False
    )

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height of the image in its file, upright, px."""
        return self.full_size or self.image.size

    @cached_property
    def grey(self) -> Image.Image:
        """The luminance of `image`, mode L: 0.299 R + 0.587 G + 0.114 B, rounded."""
        return self.image.convert("L")

    def thumbnail(self, side: int = THUMBNAIL_SIDE) -> Image.Image:
        """Return the luminance at `side` x `side` px, whatever the shape of the image, mode L.

        It is resized antialiased by a Hamming window. That is as fast as a triangle, and hardly
        blurs an image more that is a little larger than the thumbnail than one that is as large.
        """
        if side not in self._thumbnails:
            size, window = (side, side), Image.Resampling.HAMMING
            self._thumbnails[side] = self.grey.resize(size, window, self.box)
        return self._thumbnails[side]


def suffices(width: int, height: int, side: int | None) -> bool:
    """Return whether an image scaled to this size is large enough for a signal.

    It is with a sixth more pixels than `side` x `side`, in a shape of at most 4 to 1. With as many
    a thumbnail would not be filtered, and edges be half as sharp again. A signal without
    `least_side` has None: no scaled image suffices.

    >>> suffices(320, 240, 256), suffices(256, 256, 256), suffices(1024, 120, 256)
    (True, False, False)
    """
    if side is None:
        return False
    return 6 * width * height >= 7 * side**2 and 2 * min(width, height) >= side


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One stored value of a signal, and the settings of its histogram."""

    name: str
    type: pa.DataType
    meaning: str  # one line, with the unit
    low: float = 0.0  # histogram range; values outside count in the first or last bin
    high: float = 1.0
    logarithmic: bool = False  # bins of equal ratio; needs low > 0
    nothing: float | None = None  # stored where there is no value; left out of means

    @property
    def is_ordered(self) -> bool:
        """Whether more or less of it says anything: not so of hashes, words and lists."""
        return not (self.type in (pa.uint64(), pa.string()) or pa.types.is_nested(self.type))

    @property
    def field(self) -> "pa.Field[pa.DataType]":
        """The Arrow field of this column."""
        return pa.field(self.name, self.type, nullable=False, metadata={"meaning": self.meaning})


class Signal(Protocol):
    """Measures a batch of records; it has settings, but no state and no threshold.

    It may have an attribute `least_side`, an int in px: images may be scaled down as far as
    `suffices` allows. 0 is for a signal that reads no pixels. Without it images are whole.
    """

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of this signal."""
        ...

    def measure(self, records: Sequence[Record]) -> Values:
        """Return one sequence per column, as long as `records` and in the same order."""
        ...


def least_side(signals: Iterable[Signal]) -> int | None:
    """Return the `least_side` of the signal that needs the largest images; None for whole ones."""
    largest = 0
    for signal in signals:
        side: int | None = getattr(signal, "least_side", None)
        if side is None:
            return None
        largest = max(largest, side)
    return largest
