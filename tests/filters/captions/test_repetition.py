import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.captions.repetition import repetition


@pytest.mark.parametrize(
    "text",
    [
        "A red fox stands in the snow. Behind it are a fence, a shed and a few bare trees.",
        "画面中央是一只红色的狐狸、左侧有一棵树、右侧有一间木屋、背景是远处的雪山。",
        "Two rows of chairs: red, green and blue ones left, red and green ones right.",
        "",
        "fox fox fox",
    ],
)
def test_prose_hardly_repeats_itself(text: str) -> None:
    assert repetition(text) < 0.1


@pytest.mark.parametrize(
    "text",
    [
        "fox " * 8,
        "一只猫、" * 8,
        "ha" * 40,
        "!" * 60,
        "\U0001f98a " * 40,
    ],
)
def test_a_loop_repeats_itself(text: str) -> None:
    assert repetition(text) > 0.5


@given(st.text())
def test_repetition_is_a_share(text: str) -> None:
    assert 0 <= repetition(text) < 1


@given(st.lists(st.sampled_from(["fox", "hen", "red", "runs"]), min_size=4, max_size=40))
def test_a_text_repeats_itself_more_when_it_is_said_twice(words: list[str]) -> None:
    text = " ".join(words)
    assert repetition(f"{text} {text}") >= repetition(text)


def test_counting_does_not_hide_a_loop() -> None:
    text = ", ".join(f"chair {n}" for n in range(20))
    assert repetition(text) > 0.5
