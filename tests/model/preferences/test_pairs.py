"""Which image is preferred: rules at their thresholds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.preferences.pairs import (
    GIVEN,
    Dropped,
    Preference,
    best_and_worst,
    given_and_first,
    given_and_worst,
)

STEP = 1 / 64  # exact in binary, so that a difference is what the table says
MARGIN = 8 * STEP


@pytest.mark.parametrize(
    ("difference", "outcome"),
    [
        (MARGIN - STEP, "small_margin"),
        (MARGIN, "kept"),
        (MARGIN + STEP, "kept"),
        (0.0, "tie"),
        (STEP, "small_margin"),
    ],
)
def test_scores_at_the_margin(difference: float, outcome: str) -> None:
    for made in (
        best_and_worst([0.5, 0.5 + difference, 0.5], MARGIN),
        given_and_worst(0.5 + difference, [0.5, 0.5 + difference], MARGIN),
    ):
        if outcome == "kept":
            assert isinstance(made, Preference)
            assert made.margin == difference
        else:
            assert isinstance(made, Dropped)
            assert made.reason == outcome
            assert "0.5" in made.detail


def test_a_tie_is_dropped_even_where_no_margin_is_asked_for() -> None:
    assert isinstance(best_and_worst([1.0, 1.0], 0.0), Dropped)
    assert best_and_worst([1.0, 1.0 + STEP], 0.0) == Preference(chosen=1, rejected=0, margin=STEP)


def test_the_first_of_equals_is_taken() -> None:
    assert best_and_worst([2.0, 1.0, 2.0, 1.0], 0.0) == Preference(chosen=0, rejected=1, margin=1.0)


def test_a_given_image_that_scores_below_the_model_s_is_dropped() -> None:
    made = given_and_worst(0.25, [0.5, 0.75], 0.0)
    assert isinstance(made, Dropped)
    assert made.reason == "small_margin"


def test_without_scores_the_given_image_is_chosen_over_the_first() -> None:
    assert given_and_first() == Preference(chosen=GIVEN, rejected=0, margin=0.0)


@pytest.mark.parametrize("scores", [[], [1.0], [1.0, math.nan], [math.inf, 0.0]])
def test_scores_that_are_too_few_or_not_finite_are_refused(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="expected 2 finite scores or more"):
        best_and_worst(scores, 0.0)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=6), st.floats(0, 10))
def test_no_other_pair_has_a_larger_margin(scores: list[float], margin: float) -> None:
    made = best_and_worst(scores, margin)
    largest = max(a - b for a in scores for b in scores)
    if isinstance(made, Preference):
        assert made.margin == scores[made.chosen] - scores[made.rejected] == largest >= margin
    else:
        assert largest == 0 or largest < margin
