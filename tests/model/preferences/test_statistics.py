import numpy as np
import pytest

from model.preferences.statistics import compare


def test_a_constant_gain_is_certain_however_hard_the_prompts_are() -> None:
    before = [0.0, 5.0, 100.0]
    found = compare(before, [score + 1 for score in before])
    assert (found.difference, found.low, found.high, found.wins) == (1.0, 1.0, 1.0, 1.0)


def test_the_interval_holds_a_known_gain_as_often_as_it_says() -> None:
    chance = np.random.default_rng(0)
    held = 0
    for seed in range(40):
        before = chance.normal(0, 10, 60)
        found = compare(
            before.tolist(),
            (before + chance.normal(0.5, 1, 60)).tolist(),
            confidence=0.9,
            resamples=500,
            seed=seed,
        )
        held += found.low <= 0.5 <= found.high
    assert 30 <= held <= 40  # 36 expected


def test_it_is_the_same_for_the_same_seed_and_says_what_it_is_of() -> None:
    before, after = [0.1, 0.4, 0.3, 0.3], [0.2, 0.3, 0.5, 0.3]
    found = compare(before, after, seed=3)
    assert found == compare(before, after, seed=3)
    assert found.prompts == 4
    assert found.wins == 0.625  # 2 rose, 1 stayed
    assert found.low < found.difference < found.high


@pytest.mark.parametrize(
    ("before", "after"), [([1.0], [2.0]), ([1.0, 2.0], [1.0]), ([1.0, 2.0], [1.0, float("nan")])]
)
def test_scores_that_cannot_be_compared_are_refused(before, after) -> None:
    with pytest.raises(ValueError, match="expected finite scores for two prompts or more"):
        compare(before, after)
