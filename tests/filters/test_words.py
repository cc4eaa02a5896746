import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.words import count_words, cut_at_word


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A lion.", 2),
        ("golden retriever", 2),
        ("don't stop O'Neil's 3.14 of 1,000", 6),
        ("1 2 3", 3),
        (". . . ! ! ! -- & <>", 0),
        ("", 0),
        ("A320 snake_case well-known AT&T", 6),
        ("\u4e00\u53ea\u767d\u8272\u7684\u732b\u3002", 6),  # Chinese: each ideograph
        ("\u767d\u3044\u732b\u304c\u30ab\u30e1\u30e9", 5),  # Japanese: a katakana run is one
        ("\ud558\uc580 \uace0\uc591\uc774\uac00", 2),  # Korean
        ("\u0e41\u0e21\u0e27\u0e02\u0e32\u0e27", 6),  # Thai: no dictionary, so each letter
        ("\u090f\u0915 \u092c\u093f\u0932\u094d\u0932\u0940", 2),  # Hindi
        ("\u0642\u0637\u0629 \u0628\u064a\u0636\u0627\u0621", 2),  # Arabic
        ("cafe\u0301 noir", 2),
        ("\U0001f98a \U0001f468\u200d\U0001f469 \u2764\ufe0f", 0),
    ],
)
def test_words_are_counted_as_unicode_segments_them(text: str, words: int) -> None:
    assert count_words(text) == words


@given(st.lists(st.from_regex("[a-z]{1,8}", fullmatch=True)))
def test_plain_words_are_those_between_spaces(words: list[str]) -> None:
    assert count_words(", ".join(words)) == len(words)


@given(st.text(), st.integers(1, 30))
def test_a_cut_text_fits_and_is_a_start(text: str, max_chars: int) -> None:
    cut = cut_at_word(text, max_chars)
    assert len(cut) <= max_chars
    assert text.startswith(cut)
