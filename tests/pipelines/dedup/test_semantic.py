"""Semantic duplicates of one cluster, against every row compared with every kept row."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.dedup.semantic import COMPARED, ONE, Points, representatives, to_points

WIDTH = 48


def around(rng: np.random.Generator, centres: int, count: int, noise: float) -> Points:
    """Return points near a few directions."""
    middles = rng.standard_normal((centres, WIDTH))
    points = middles[rng.integers(0, centres, count)] + noise * rng.standard_normal((count, WIDTH))
    return to_points(points / np.linalg.norm(points, axis=1, keepdims=True))


def compared(points: Points, eps: float) -> list[int]:
    """Return the first kept row that each row is near; products are of Python's integers."""
    kept: list[int] = []
    found: list[int] = []
    rows: list[Sequence[int]] = points.tolist()
    for number, row in enumerate(rows):
        near = (k for k in kept if product(rows[k], row) >= (1 - eps) * ONE * ONE)
        found.append(next(near, number))
        kept += [number] * (found[-1] == number)
    return found


def product(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(x * y for x, y in zip(a, b, strict=True))


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32),
    centres=st.integers(1, 20),
    noise=st.sampled_from([0.0, 0.05, 0.2, 1.0]),
    eps=st.sampled_from([0.0, 0.01, 0.05, 0.5]),
)
def test_representatives_are_those_of_all_rows_compared(
    seed: int, centres: int, noise: float, eps: float
):
    points = around(np.random.default_rng(seed), centres, 60, noise)
    assert representatives(points, eps).tolist() == compared(points, eps)


@pytest.mark.parametrize("noise", [0.0, 0.2, 1.0])
def test_rows_of_one_block_are_compared_with_those_of_earlier_ones(noise: float):
    points = around(np.random.default_rng(0), 30, 2 * COMPARED + 7, noise).repeat(2, axis=0)
    found = representatives(points, 0.05)
    products = points.astype(np.int64) @ points.T.astype(np.int64)
    kept = found == np.arange(len(points))
    first = ((products >= 0.95 * ONE * ONE) & kept).argmax(axis=1)
    assert found.tolist() == first.tolist()


@pytest.mark.parametrize("points", [2, 600])
@pytest.mark.parametrize(("beyond", "duplicate"), [(-0.5, True), (0.5, False)])
def test_a_threshold_that_float32_cannot_tell_from_a_product_decides(
    points: int, beyond: float, duplicate: bool
):
    a, b = around(np.random.default_rng(1), 1, 2, 0.2)
    exact = product(a.tolist(), b.tolist())
    assert np.float32(exact + 0.5) == np.float32(exact - 0.5)
    eps = 1 - (exact + beyond) / (ONE * ONE)
    found = representatives(np.stack([a, b]).repeat(points // 2, axis=0), eps)
    assert set(found.tolist()) == ({0} if duplicate else {0, points // 2})
