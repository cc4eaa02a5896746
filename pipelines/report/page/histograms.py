"""Histograms of fixed size that add up: a shard's takes as much room as the whole corpus's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from filters.signal import Column
from schemas.rule_config import Rule

BINS_MAX = 48
_FlatArray = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """The histogram of one signal; values outside the column's range count in the end bins."""

    measured: tuple[int, ...]  # rows a bin
    kept: tuple[int, ...]  # rows a bin that reached the shards
    under: int  # measured rows below the recipe's min
    over: int  # measured rows above the recipe's max
    forbidden: int  # measured rows with a flag that the recipe forbids
    lowest: float  # inf where there are no rows
    highest: float  # -inf where there are no rows

    def __add__(self, other: "Histogram") -> "Histogram":
        return Histogram(
            measured=_added(self.measured, other.measured),
            kept=_added(self.kept, other.kept),
            under=self.under + other.under,
            over=self.over + other.over,
            forbidden=self.forbidden + other.forbidden,
            lowest=min(self.lowest, other.lowest),
            highest=max(self.highest, other.highest),
        )


def bin_edges(column: Column) -> _FlatArray:
    """Return the n + 1 edges of a column's bins; bins of integers have integer widths.

    >>> bin_edges(Column(name="words", type=pa.int32(), meaning="", high=100))[:3].tolist()
    [0.0, 3.0, 6.0]
    """
    low, high = column.low, column.high
    if pa.types.is_boolean(column.type):
        return np.array([-0.5, 0.5, 1.5])
    if column.logarithmic:
        # Below 16, bins of equal ratio would be narrower than 1, so some would stay empty.
        coarse = pa.types.is_integer(column.type) and low < 16
        bins = min(BINS_MAX, int(np.log2(high / low))) if coarse else BINS_MAX
        return np.geomspace(low, high, bins + 1)
    if pa.types.is_integer(column.type):
        width = max(1, int(np.ceil((high - low) / BINS_MAX)))
        return np.arange(low, high + width, width, dtype=np.float64)
    return np.linspace(low, high, BINS_MAX + 1)


def make_histogram(
    column: Column,
    values: Sequence[float] | np.ndarray,
    kept: Sequence[bool] | np.ndarray,
    rule: Rule | None,
) -> Histogram:
    """Return the histogram of one column.

    Args:
        column: defines the bins.
        values: one value a row; flags count as 0 and 1.
        kept: whether each row reached the shards.
        rule: the recipe's rule for this column, or None.
    """
    edges = bin_edges(column)
    numbers = np.asarray(values, dtype=np.float64)
    bins = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(edges) - 2)
    kept_bins = bins[np.asarray(kept, dtype=bool)]
    return Histogram(
        measured=tuple(np.bincount(bins, minlength=len(edges) - 1).tolist()),
        kept=tuple(np.bincount(kept_bins, minlength=len(edges) - 1).tolist()),
        under=_breaking(numbers, rule and rule.min, np.greater_equal),
        over=_breaking(numbers, rule and rule.max, np.less_equal),
        forbidden=int(np.sum(numbers != 0)) if rule and rule.forbid else 0,
        lowest=float(np.fmin.reduce(numbers, initial=np.inf)),
        highest=float(np.fmax.reduce(numbers, initial=-np.inf)),
    )


def _breaking(numbers: _FlatArray, bound: float | None, within: np.ufunc) -> int:
    """Return the number of values outside a bound; NaN counts, as in `filters.rules.judge`."""
    return 0 if bound is None else int(np.sum(~within(numbers, bound)))


def _added(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(x + y for x, y in zip(a, b, strict=True))
