import math

import pytest

from filters.rules import KEEP, Verdict, judge
from schemas.keys import unit
from schemas.rule_config import Rule


def dropped(reason: str) -> Verdict:
    return Verdict(kept=False, reason=reason)


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(255, dropped("short_side_min")), (256, KEEP), (257, KEEP)],
)
def test_a_minimum_is_inclusive(value: int, verdict: Verdict) -> None:
    assert judge({"short_side": value}, {"short_side": Rule(min=256)}) == verdict


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(511, KEEP), (512, KEEP), (513, dropped("text_chars_max"))],
)
def test_a_maximum_is_inclusive(value: int, verdict: Verdict) -> None:
    assert judge({"text_chars": value}, {"text_chars": Rule(max=512)}) == verdict


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(0.5, dropped("aspect_min")), (1.0, KEEP), (2.0, KEEP), (2.5, dropped("aspect_max"))],
)
def test_a_rule_can_bound_both_sides(value: float, verdict: Verdict) -> None:
    assert judge({"aspect": value}, {"aspect": Rule(min=1.0, max=2.0)}) == verdict


@pytest.mark.parametrize(("value", "verdict"), [(False, KEEP), (True, dropped("text_url"))])
def test_a_forbidden_flag_is_its_own_reason(value: bool, verdict: Verdict) -> None:
    assert judge({"text_url": value}, {"text_url": Rule(forbid=True)}) == verdict


def test_a_value_that_is_no_number_passes_no_bound() -> None:
    assert judge({"aspect": math.nan}, {"aspect": Rule(min=0)}) == dropped("aspect_min")
    assert judge({"aspect": math.nan}, {"aspect": Rule(max=9)}) == dropped("aspect_max")


def test_the_first_broken_rule_gives_the_reason() -> None:
    values = {"short_side": 10, "text_url": True}
    rules = {"text_url": Rule(forbid=True), "short_side": Rule(min=256)}
    assert judge(values, rules) == dropped("text_url")
    assert judge(values, dict(reversed(rules.items()))) == dropped("short_side_min")


def test_without_rules_everything_stays() -> None:
    assert judge({"short_side": 1}, {}) == KEEP


def test_a_rule_on_a_signal_that_was_not_measured_is_an_error() -> None:
    with pytest.raises(KeyError, match="sharpness"):
        judge({"short_side": 10}, {"sharpness": Rule(min=1)})


def test_a_cap_keeps_about_as_many_rows_of_a_text() -> None:
    """Which ones, their keys decide; a text that fewer rows have loses none."""
    rules = {"text_repeats": Rule(cap=10)}
    drawn = [unit(f"{number:032x}", "cap") for number in range(1000)]
    kept = [judge({"text_repeats": 1000}, rules, drawn=each).kept for each in drawn]
    assert 4 <= sum(kept) <= 18
    assert all(judge({"text_repeats": 10}, rules, drawn=each).kept for each in drawn)
    assert judge({"text_repeats": 11}, rules, drawn=0.95) == dropped("text_repeats_cap")
