"""Medians of scores that add up: rows are counted by value in few digits.

Rounding keeps the order of values, so the median of rounded values is the median, rounded.
"""

from collections import Counter
from collections.abc import Mapping

import numpy as np

FLOAT_DIGITS = 2  # at most 180 different values for each power of ten
INTEGER_DIGITS = 3

Counts = Mapping[float, int]  # rows by rounded value; flags and integers keep their types


def count_values(values: np.ndarray) -> Counter[float]:
    """Count values: flags as they are, integers in 3 digits, other numbers in 2.

    >>> count_values(np.array([0.00367, 0.0037, 0.5]))
    Counter({0.0037: 2, 0.5: 1})
    >>> count_values(np.array([7, 1234, 1231]))
    Counter({1230: 2, 7: 1})
    """
    found: Counter[float] = Counter()
    distinct, rows = np.unique(values, return_counts=True)
    for value, count in zip(distinct.tolist(), rows.tolist(), strict=True):
        found[_rounded(value)] += count
    return found


def median(counts: Counts) -> float:
    """Return the smallest value that at least half of the rows do not exceed.

    >>> median({0: 2, 3: 1, 9: 1})
    0
    """
    half, seen = sum(counts.values()) / 2, 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= half:
            return value
    raise ValueError("no rows, expected at least one")


def _rounded(value: float) -> float:
    if isinstance(value, bool):
        return value
    digits = INTEGER_DIGITS if isinstance(value, int) else FLOAT_DIGITS
    return type(value)(float(f"{value:.{digits - 1}e}"))
