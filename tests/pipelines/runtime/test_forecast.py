"""When a job is given up because too many of its rows are going to fail."""

import pytest

from pipelines.runtime.forecast import Forecast
from pipelines.runtime.sidecar import Counts


def shard(failed: int, rows: int = 10) -> Counts:
    return Counts(rows_in=rows, kept=rows - failed, failed={"timeout": failed})


def forecast(shards: list[Counts], *, of: int = 100, allowed: float = 0.5) -> Forecast:
    """Return what is known after the first shards of a source of `of` shards."""
    found = Forecast(allowed=allowed, sources=["web"] * of)
    for number, counts in enumerate(shards):
        found.add(number, counts)
    return found


@pytest.mark.parametrize(
    ("failed", "hopeless"),
    [
        ([10] * 7, False),  # too few shards to tell
        ([10] * 8, True),
        ([10] * 7 + [4], False),  # the rest might be like the last
        ([10] * 7 + [6], True),
        ([0] * 40 + [10] * 7 + [9], True),  # the network broke at 40 of 100: 56 fail
        ([0] * 60 + [10] * 8, False),  # no more than 40 of 100 fail
    ],
)
def test_the_rest_of_a_source_fails_as_the_best_of_its_last_eight_shards(
    failed: list[int], hopeless: bool
) -> None:
    assert forecast([shard(rows) for rows in failed]).is_hopeless is hopeless


def test_what_has_failed_already_is_enough_however_good_the_rest() -> None:
    found = forecast([shard(10)] * 3, of=5)
    assert found.is_hopeless


def test_a_stage_that_may_lose_all_is_never_given_up() -> None:
    assert not forecast([shard(10)] * 99, allowed=1.0).is_hopeless


def test_a_source_that_fails_is_weighed_against_those_not_begun() -> None:
    few = Forecast(allowed=0.5, sources=["bad"] * 10 + ["good"] * 90)
    many = Forecast(allowed=0.5, sources=["bad"] * 60 + ["good"] * 40)
    for number in range(8):
        few.add(number, shard(10))
        many.add(number, shard(10))
    assert not few.is_hopeless
    assert many.is_hopeless


def test_shards_of_an_earlier_job_count_and_teach_nothing() -> None:
    found = Forecast(allowed=0.5, sources=["web"] * 100)
    for number in range(20):
        found.add(number, shard(10), is_old=True)
    assert not found.is_hopeless
    for number in range(20, 28):
        found.add(number, shard(3))
    assert not found.is_hopeless
    for number in range(28, 36):
        found.add(number, shard(5))
    assert found.is_hopeless


def test_nothing_done_tells_nothing() -> None:
    assert not Forecast(allowed=0.0, sources=["web"]).is_hopeless
    assert not forecast([shard(0, rows=0)] * 9).is_hopeless
