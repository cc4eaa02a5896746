import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.captions.phrases import patterns
from filters.captions.unwrapping import fenced, items, unwrapped
from schemas.markers import without_outer_markers


@settings(deadline=None)  # the first text compiles the phrases
@given(st.text())
def test_an_unwrapped_text_is_one_line_and_not_longer(text: str) -> None:
    found = unwrapped(text)
    assert len(found) <= len(text)
    assert found == " ".join(found.split())
    found.encode()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<s> a </s>", "a"),
        ("a <s> b", "a <s> b"),
        ("<|im_end|></s>\n", ""),
        ("a<|im_end|>\n<|endoftext|>", "a"),
        ("", ""),
    ],
)
def test_special_tokens_are_removed_at_both_ends_only(text: str, found: str) -> None:
    assert without_outer_markers(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("- a\n- b", ["a", "b"]),
        ("1. a\n\n2) b", ["a", "b"]),
        ("1. Mai 2020", []),
        ("- a\nb", []),
        ("", []),
    ],
)
def test_items_are_those_of_a_whole_list(text: str, found: list[str]) -> None:
    assert items(text) == found


def test_a_fence_that_does_not_end_ends_with_the_text() -> None:
    assert fenced("See:\n```json\n[1, 2") == "[1, 2"


@pytest.mark.parametrize("kind", ["refusals", "openings", "closings"])
def test_no_pattern_of_phrases_takes_nothing_or_repeats_without_bound(kind) -> None:
    pattern = patterns(kind).pattern
    assert not patterns(kind).fullmatch("")
    unbounded = pattern.replace(".*", "") if kind == "closings" else pattern
    assert "*" not in unbounded
    assert "+" not in unbounded.replace("[!.,:]+", "")
