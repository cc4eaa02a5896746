"""Dictionaries of RFC 9651 are read as the RFC says, and malformed ones not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.fetch.dictionary_field import last_values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("  ", {}),
        ("a", {"a": "?1"}),
        ("a=n", {"a": "n"}),
        (" a=n\t,\t b=y ", {"a": "n", "b": "y"}),
        ("a=y,a=n", {"a": "n"}),
        ("a=n, a", {"a": "?1"}),
        ('a="n"', {"a": '"n"'}),
        (r'a="\"n, b=y"', {"a": r'"\"n, b=y"'}),
        ("a=?0", {"a": "?0"}),
        ("a=-12.345, b=123456789012345", {"a": "-12.345", "b": "123456789012345"}),
        ("a=:bg==:, b=@-1", {"a": ":bg==:", "b": "@-1"}),
        ('a=%"%c3%a9"', {"a": '%"%c3%a9"'}),
        ("a=(n y;q=1);r, b=()", {"a": "(n y;q=1)", "b": "()"}),
        ('a=n;why="a, b"; x=1;y', {"a": "n"}),
        ("*a.b_c-1=n", {"*a.b_c-1": "n"}),
        ("a=*/b:c", {"a": "*/b:c"}),
    ],
)
def test_values_are_the_last_of_their_keys(text: str, expected: dict[str, str]) -> None:
    assert last_values(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "A=n",
        "a=n, B=y",
        "a=n,",
        ",a=n",
        "a=n,,b=y",
        "a=n b=y",
        "a=n; b=y=z",
        "a =n",
        "a= n",
        "a=",
        "a=n;",
        'a="n',
        "a='n'",
        "a=?2",
        "a=?10",
        "a=1234567890123456",
        "a=1.",
        "a=1.2345",
        "a=(1 2",
        "a=(1,2)",
        'a="\u00e9"',
        "a=\u0130",
        "1a=n",
    ],
)
def test_a_malformed_dictionary_has_no_values(text: str) -> None:
    assert last_values(text) == {}


@given(st.text(alphabet='aAn=,;:?"%\\()@ \t1.-*\x00\udcff', max_size=60))
def test_no_text_raises(text: str) -> None:
    last_values(text)
