"""Hashes as words sort and come back as their hex digits do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.dedup.words import hexed, unhex, words

KEYS = st.lists(st.integers(0, 2**128 - 1).map(lambda n: f"{n:032x}"), min_size=1)


@given(KEYS)
def test_keys_come_back(keys: list[str]):
    assert hexed(words(unhex(keys))) == keys


@given(KEYS)
def test_words_sort_as_hex_digits_do(keys: list[str]):
    high, low = words(unhex(keys))
    assert [keys[place] for place in np.lexsort((low, high))] == sorted(keys)


@given(st.lists(st.binary(min_size=11, max_size=11), min_size=1))
def test_hashes_of_any_length_are_equal_where_their_words_are(hashes: list[bytes]):
    rows = list(zip(*words(unhex([each.hex() for each in hashes])), strict=True))
    assert [[a == b for b in rows] for a in rows] == [[a == b for b in hashes] for a in hashes]


def test_what_is_no_hex_is_refused():
    with pytest.raises(ValueError, match="hexadecimal"):
        unhex(["zz"])
