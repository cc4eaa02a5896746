import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from pipelines.calibration import SAMPLE
from pipelines.thresholds.agreement import (
    agreement,
    keeps,
    labelled,
    other_thresholds,
    weighted_share,
)


@given(hits=st.integers(0, 40), misses=st.integers(0, 40))
def test_the_interval_of_equal_weights_is_wilsons(hits: int, misses: int) -> None:
    rows = np.array([True] * hits + [False] * misses, bool)
    share = weighted_share(rows, np.full(len(rows), 7.0))
    if not len(rows):
        assert math.isnan(share.value)
        return
    expected = binomtest(hits, len(rows)).proportion_ci(method="wilson")
    assert share.value == pytest.approx(hits / len(rows))
    assert (share.low, share.high) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_unequal_weights_count_as_fewer_rows() -> None:
    hits = np.array([True, False, True])
    share = weighted_share(hits, np.array([1.0, 2.0, 3.0]))
    assert share.value == pytest.approx(4 / 6)
    assert share.rows == pytest.approx(36 / 14)


def sample(*rows: tuple[str, float, str, int]) -> pa.Table:
    """Return a sample: label, value, stratum, rows of the stratum; the threshold is 5."""
    told = [
        {
            "key": f"{number:032x}",
            "label": label,
            "value": value,
            "threshold": 5.0,
            "source": stratum.partition(",")[0],
            "stratum": stratum,
            "stratum_rows": size,
            "weight": 1.0,
            "shard": 0,
            "scorer": "{}",
        }
        for number, (label, value, stratum, size) in enumerate(rows)
    ]
    return pa.Table.from_pylist(told, schema=SAMPLE)


def test_precision_and_recall_are_those_of_the_weighted_rows() -> None:
    rows = labelled(
        sample(
            ("yes", 5.0, "a, kept", 60),
            ("no", 6.0, "a, kept", 60),
            ("skip", 7.0, "a, kept", 60),
            ("yes", 4.9, "a, dropped", 40),
            ("no", 1.0, "a, dropped", 40),
            ("no", 2.0, "a, dropped", 40),
            ("no", 2.5, "a, dropped", 40),
            ("", 3.0, "a, none labelled", 1000),
        )
    )
    # Two labelled rows of 60 weigh 30 each, four of 40 weigh 10 each.
    assert rows.weights.tolist() == [30, 30, 10, 10, 10, 10]
    found = agreement(rows, keeps(rows.values, "min", rows.thresholds))
    assert found.precision.value == pytest.approx(30 / 60)
    assert found.recall.value == pytest.approx(30 / 40)
    assert found.kept == pytest.approx(60 / 100)


def test_a_largest_value_keeps_the_other_side() -> None:
    values = np.array([4.0, 5.0, 6.0])
    assert keeps(values, "min", 5.0).tolist() == [False, True, True]
    assert keeps(values, "max", 5.0).tolist() == [True, True, False]


def test_nothing_is_known_without_labels() -> None:
    rows = labelled(sample(("", 5.0, "a", 3), ("skip", 6.0, "a", 3)))
    found = agreement(rows, np.zeros(0, bool))
    assert all(map(math.isnan, (found.precision.value, found.recall.value, found.kept)))
    assert other_thresholds(rows) == ()


def test_an_interval_holds_the_true_share_nineteen_times_in_twenty() -> None:
    """Of a population of two strata, sampled unequally."""
    generator = np.random.default_rng(0)
    good = [generator.random(900) < 0.9, generator.random(100) < 0.4]
    true = np.concatenate(good).mean()
    held = 0
    for _ in range(400):
        drawn = [generator.choice(each, 40, replace=False) for each in good]
        share = weighted_share(np.concatenate(drawn), np.repeat([900 / 40, 100 / 40], 40))
        held += share.low <= true <= share.high
    assert held / 400 > 0.93
