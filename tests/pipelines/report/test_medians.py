from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.report.page.formats import value
from pipelines.report.page.medians import count_values, median


@given(
    parts=st.lists(
        st.lists(st.floats(-1e9, 1e9, width=32), min_size=1, max_size=20), min_size=1, max_size=4
    )
)
def test_a_median_of_parts_is_that_of_all_values_in_two_digits(parts: list[list[float]]) -> None:
    counts = count_values(np.array(parts[0], np.float32))
    for part in parts[1:]:
        counts = add(counts, count_values(np.array(part, np.float32)))
    ordered = sorted(number for part in parts for number in part)
    middle = ordered[(len(ordered) - 1) // 2]
    assert median(counts) == float(f"{middle:.1e}")


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (np.array([0, 0, 0, 5], np.int32), "0"),
        (np.array([999, 999, 1], np.int32), "999"),
        (np.array([0.0037, 0.0036, 0.9], np.float32), "0.0037"),
        (np.array([True, True, False]), "yes"),
        (np.array([False]), "no"),
    ],
)
def test_flags_and_small_whole_numbers_are_exact(values: np.ndarray, shown: str) -> None:
    assert value(median(count_values(values))) == shown


def test_no_rows_have_no_median() -> None:
    with pytest.raises(ValueError, match="no rows"):
        median({})
