"""Measures of captions, their intervals, and the rule that decides."""

import numpy as np
import pytest

from model.captioner_training.evaluate import (
    AGREEMENT,
    EXACT,
    FREQUENT,
    NEAREST,
    OURS,
    WORD_F1,
    Estimate,
    Line,
    compare,
    estimate,
    is_better,
    nearest,
    scores,
    word_f1,
)


@pytest.mark.parametrize(
    ("said", "title", "expected"),
    [
        ("red fox", "red fox", 1.0),
        ("red", "red fox", 2 / 3),
        ("fox fox", "red fox", 0.5),  # the second fox is in no title
        ("fox fox", "fox fox", 1.0),
        ("dog", "red fox", 0.0),
        ("", "red fox", 0.0),
        ("", "", 0.0),
    ],
)
def test_words_count_as_often_as_both_have_them(said: str, title: str, expected: float) -> None:
    assert word_f1(said, title) == pytest.approx(expected)
    assert word_f1(title, said) == pytest.approx(expected)


def test_all_measures_are_of_the_same_captions() -> None:
    said_NC = np.eye(2, dtype=np.float32)
    found = scores(["red fox", "dog"], ["red fox", "red dog"], said_NC, said_NC[::-1])
    assert found[WORD_F1].tolist() == pytest.approx([1, 2 / 3])
    assert found[EXACT].tolist() == [1, 0]
    assert found[AGREEMENT].tolist() == [0, 0]


def test_the_nearest_image_lends_its_caption() -> None:
    train_NC = np.eye(3, dtype=np.float32)
    held_NC = np.array([[0.1, 0.9, 0.0], [0.9, 0.1, 0.0]], np.float32)
    assert nearest(held_NC, train_NC, ["a", "b", "c"]) == ["b", "a"]


def test_an_interval_is_of_groups_and_not_of_images() -> None:
    values = np.repeat([0.0, 1.0] * 10, 50)
    apart = estimate(values, [str(number) for number in range(1000)])
    together = estimate(values, [str(number // 50) for number in range(1000)])
    assert apart.mean == together.mean == 0.5
    assert apart.high - apart.low == pytest.approx(0.062, abs=0.01)  # 2 x 1.96 x 0.5 / 1000 ** 0.5
    assert together.high - together.low == pytest.approx(0.44, abs=0.08)  # of 20 groups
    assert estimate(values, ["one"] * 1000) == Estimate(mean=0.5, low=0.5, high=0.5)


def test_a_lead_is_of_the_same_images() -> None:
    base = np.random.default_rng(0).random(200)
    groups = [str(number) for number in range(200)]
    lines = compare({OURS: {WORD_F1: base + 0.01}, NEAREST: {WORD_F1: base}}, groups)
    ours, theirs = lines
    assert ours.lead is None
    assert theirs.lead
    assert theirs.score.high - theirs.score.low > 0.05
    assert theirs.lead.low == pytest.approx(0.01)
    assert theirs.lead.high == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("lows", "expected"), [((0.001, 0.01), True), ((0.0, 0.01), False), ((0.01, -0.01), False)]
)
def test_it_is_better_if_it_leads_each_other_method(
    lows: tuple[float, float], expected: bool
) -> None:
    def line(method: str, measure: str, low: float | None) -> Line:
        score = Estimate(mean=0.5, low=0.4, high=0.6)
        lead = None if low is None else Estimate(mean=0.05, low=low, high=0.1)
        return Line(method=method, measure=measure, score=score, lead=lead)

    lines = [
        line(OURS, WORD_F1, None),
        line(FREQUENT, WORD_F1, lows[0]),
        line(NEAREST, WORD_F1, lows[1]),
        line(NEAREST, EXACT, -1.0),  # another measure decides nothing
    ]
    assert is_better(lines) is expected
