"""Correlations of columns from sums that add up exactly: integers, in any order and grouping.

A value is first put on its column's axis, as in the histogram: clipped to the column's range, its
logarithm where the axis is logarithmic, and rounded to STEPS steps.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from filters.signal import Column

STEPS = 1 << 16  # of an axis; products of a shard's rows fit in 64 bits


class Moments(NamedTuple):
    """Sums over the rows that have a value in both columns."""

    rows: int
    x: int
    y: int
    xx: int
    yy: int
    xy: int

    def plus(self, other: "Moments") -> "Moments":
        """Return the sums over the rows of both."""
        return Moments(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def correlation(self) -> float | None:
        """Pearson's coefficient, -1 to 1; None where a column does not vary.

        >>> Moments(rows=3, x=6, y=12, xx=14, yy=56, xy=28).correlation
        1.0
        """
        n = self.rows
        x, y = n * self.xx - self.x**2, n * self.yy - self.y**2
        return (n * self.xy - self.x * self.y) / math.sqrt(x * y) if x > 0 and y > 0 else None


def make_moments(
    columns: Sequence[Column], first: Sequence[str], values: Mapping[str, Any]
) -> dict[tuple[str, str], Moments]:
    """Return the sums of pairs of columns.

    Args:
        columns: whose correlations are shown, in order.
        first: names of those that are compared with all, and with each other once.
        values: by name, an Arrow column; all have the same rows, nulls are left out.
    """
    there = [column for column in columns if column.name in values]
    steps = {column.name: _steps(column, values[column.name]) for column in there}
    order = [column.name for column in there]
    found: dict[tuple[str, str], Moments] = {}
    for x in (name for name in first if name in steps):
        for y in order:
            if x != y and (y, x) not in found:
                found[x, y] = _moments(*steps[x], *steps[y])
    return found


def _steps(column: Column, values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return places on the axis, int64 `[n]` with 0 for nulls, and which are there, bool `[n]`."""
    there = values.is_valid().to_numpy(zero_copy_only=False).astype(bool)
    numbers = np.full(len(there), column.low)
    numbers[there] = values.drop_null().cast(pa.float64()).to_numpy()
    there &= np.isfinite(numbers)
    low, high = column.low, column.high
    numbers = np.clip(np.where(there, numbers, low), low, high)
    if column.logarithmic:
        numbers, low, high = np.log(numbers), math.log(low), math.log(high)
    return np.rint((numbers - low) / (high - low) * STEPS).astype(np.int64) * there, there


def _moments(x: np.ndarray, has_x: np.ndarray, y: np.ndarray, has_y: np.ndarray) -> Moments:
    both = has_x & has_y
    x, y = x[both], y[both]
    sums = (x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum())
    return Moments(int(both.sum()), *map(int, sums))
