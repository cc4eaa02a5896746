"""Entries are found between the borders of words, as a search for each of them finds them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.entries import EntryIndex, spaced
from schemas.store.errors import CorpusError

WORDS = st.sampled_from(["fox", "red", "fo", "x", "it's"])
TEXTS = st.lists(WORDS, max_size=6).map(" ".join)


def found(index: EntryIndex, text: str) -> set[str]:
    names = dict(zip(index.hashes.tolist(), index.entries, strict=True))
    return {names[each] for each in index.find(text).tolist()}


@given(st.lists(TEXTS.filter(bool), min_size=1, max_size=6), TEXTS)
def test_each_entry_that_is_in_the_text_is_found(entries: list[str], text: str):
    expected = {entry for entry in entries if f" {entry} " in f" {text} "}
    assert found(EntryIndex.of(entries), text) == expected


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("A FOX (red), running", True),
        ("fox", True),
        ("Foxglove", False),
        ("fire-fox.", True),
        ("fo x", False),
        ("", False),
    ],
)
def test_an_entry_stands_between_borders_of_words(text: str, is_found: bool):
    assert found(EntryIndex.of(["Fox"]), text) == ({"Fox"} if is_found else set())


def test_the_hash_of_an_entry_does_not_depend_on_the_list():
    alone, among = EntryIndex.of(["red fox"]), EntryIndex.of(["a", "Red  Fox", "b"])
    assert alone.hashes[0] == among.hashes[1]
    assert among.entries == ("a", "Red  Fox", "b")


def test_entries_without_a_word_are_left_out():
    assert EntryIndex.of(["!!", "fox", "FOX"]).entries == ("fox",)
    with pytest.raises(CorpusError, match="at least one word"):
        EntryIndex.of(["..."])


def test_texts_are_normalised():
    assert spaced("\uff26ox\u00a0and  T-shirt") == " fox and t shirt "
