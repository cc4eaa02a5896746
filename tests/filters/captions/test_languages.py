import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.captions.languages import _SCRIPTS, foreign_words, wrong_language
from filters.captions.person_names import person_name_in
from filters.scores.language import identifier
from schemas.languages import LANGUAGES

CHINESE = "\u4e00\u53ea\u7ea2\u8272\u7684\u72d0\u72f8"


def test_the_languages_that_a_recipe_may_name_are_those_of_the_detector():
    of_no_language = "zxx"
    assert {*identifier().nb_classes} - {of_no_language} == LANGUAGES
    assert {code for codes in _SCRIPTS.values() for code in codes} <= LANGUAGES


@pytest.mark.parametrize(
    ("text", "languages", "passes"),
    [
        ("A neon sign in Latin letters", ["en"], True),
        (CHINESE, ["en"], False),
        (CHINESE, ["zh"], True),
        (CHINESE, ["en", "ja"], True),
        (CHINESE, [], True),
        (f'A neon sign that reads "{CHINESE}" over a door', ["en"], True),
        (f"A neon sign that reads {CHINESE} over a door", ["en"], False),
        ("\u0421\u043e\u0431\u0430\u043a\u0430", ["ru"], True),
        ("\u0421\u043e\u0431\u0430\u043a\u0430", ["zh"], False),
        ("12 34 !", ["en"], True),
    ],
)
def test_words_in_a_foreign_script_are_no_caption(text, languages, passes: bool) -> None:
    assert (wrong_language(text, languages, None) == "") == passes


@pytest.mark.parametrize(
    ("code", "probability", "passes"),
    [("de", 0.89, True), ("de", 0.9, False), ("en", 0.9, True), ("", 0.0, True)],
)
def test_a_detected_language_counts_if_it_is_sure(code, probability, passes: bool) -> None:
    assert (wrong_language("Hand", ["en"], lambda _: (code, probability)) == "") == passes


@given(st.text())
def test_foreign_words_are_a_share(text: str) -> None:
    assert 0 <= foreign_words(text, ["en"]) <= 1


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A plaque for Dr. Marie Curie.", "Dr. Marie"),
        ("Mr Smith waves.", "Mr Smith"),
        ("A boy named Tim runs.", "named Tim"),
        ("Frau M\u00fcller lacht.", "Frau M\u00fcller"),
        ("\u7530\u4e2d\u3055\u3093\u304c\u7b11\u3046", "\u7530\u4e2d\u3055\u3093"),
        (
            "\u4e00\u4e2a\u540d\u53eb\u738b\u660e\u7684\u7537\u5b69",
            "\u540d\u53eb\u738b\u660e\u7684\u7537\u5b69",
        ),
        ("A general store; a queen in a red dress; the captain.", ""),
        ("\u304a\u6bcd\u3055\u3093\u3068\u7686\u3055\u3093", ""),
        ("Angela Merkel waves.", ""),  # missed: a name alone
    ],
)
def test_names_are_found_after_titles_and_verbs(text: str, name: str) -> None:
    assert person_name_in(text) == name
