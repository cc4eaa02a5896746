"""Shares of the mixture."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from model.data.mixing import mixture

WEIGHTS = st.lists(st.floats(0.01, 100), min_size=1, max_size=5)


@given(WEIGHTS, st.integers(1, 400))
def test_shares_are_kept_at_every_moment(weights: list[float], draws: int) -> None:
    endless = [None] * len(weights)
    drawn = list(islice(mixture([0] * len(weights), weights, endless), draws))
    for number, weight in enumerate(weights):
        share = draws * weight / sum(weights)
        assert abs(drawn.count(number) - share) <= len(weights) / 2 + 0.5


@given(WEIGHTS, st.integers(0, 100), st.integers(0, 50))
def test_it_goes_on_from_the_numbers_drawn(weights: list[float], before: int, after: int) -> None:
    endless, none = [None] * len(weights), [0] * len(weights)
    unbroken = list(islice(mixture(none, weights, endless), before + after))
    taken = [unbroken[:before].count(number) for number in range(len(weights))]
    assert list(islice(mixture(taken, weights, endless), after)) == unbroken[before:]


def test_sources_end_at_their_limits_and_the_others_keep_their_proportions() -> None:
    drawn = list(mixture([0, 0, 0], [10, 2, 1], [5, 40, 20]))
    assert [drawn.count(number) for number in range(3)] == [5, 40, 20]
    assert [drawn[20:].count(number) for number in range(3)] == [0, 30, 15]


def test_a_source_that_is_at_its_limit_gives_nothing() -> None:
    assert list(mixture([3], [1], [3])) == []
