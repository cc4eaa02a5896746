import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.phrase import as_phrase, quoted

PIECES = st.sampled_from(
    [
        *("A", "An", "The", "Two", "There", "It", "is", "a", "lion", "fox", "Paris", "A.J.", "St."),
        *("Mr.", "U.S.", "e.g.", "No.", "5", "3.14", ".", "...", "!", "?", ",", '"', "\u201c", "("),
        *(")", "-", "runs.", "Runs!", "A320", "\u732b\u3002", "\u2026", "etc.", "'s", "\u00ab"),
    ]
)
CAPTIONS = st.one_of(
    st.text(
        st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=40
    ).map(lambda text: " ".join(text.split())),
    st.lists(PIECES, min_size=1, max_size=8).map(" ".join),
).filter(bool)


@pytest.mark.parametrize(
    ("caption", "phrase"),
    [
        ("A lion.", "a lion"),
        ("A lion", "a lion"),
        ("a lion.", "a lion"),
        ("An owl on a branch .", "an owl on a branch"),
        ("The cat of the house,", "the cat of the house"),
        ("Two dogs run.", "two dogs run"),
        ("A 3D render of a cat.", "a 3D render of a cat"),
        ("A German shepherd in snow.", "a German shepherd in snow"),
        ("A U.S. Marine on patrol.", "a U.S. Marine on patrol"),
        ("A fox (seen from the side).", "a fox (seen from the side)"),
        ("Dr. Smith and a dog.", "Dr. Smith and a dog"),
        ("The view from Mt. Fuji.", "the view from Mt. Fuji"),
        ('A "Stop." sign.', 'a "Stop." sign'),
        ("\u4e00\u53ea\u767d\u732b\u3002", "\u4e00\u53ea\u767d\u732b"),
        ("Mona Lisa", "Mona Lisa"),
        ("A Lion.", "a Lion"),
        ("A Boeing 747", "a Boeing 747"),
        ("The Eiffel Tower at night.", "the Eiffel Tower at night"),
        ("The Hague at night", "the Hague at night"),
        ("The 747", "the 747"),
        ("Two German shepherds.", "two German shepherds"),
        ("THE lion", "the lion"),
        ("A fox that is red.", "a fox that is red"),
        ("A man whose hat is red", "a man whose hat is red"),
    ],
)
def test_a_noun_phrase_is_fitted_into_the_sentence(caption: str, phrase: str) -> None:
    assert as_phrase(caption) == phrase


@pytest.mark.parametrize(
    "caption",
    [
        "A.J. Smith",
        "A320 aircraft",
        "AN-124",
        "A-10 in flight",
        "Ants on a log",
        "Theatre",
        "A",
    ],
)
def test_names_and_titles_keep_their_capitals(caption: str) -> None:
    assert as_phrase(caption) == caption


@pytest.mark.parametrize(
    "caption",
    [
        "A lion. It runs.",
        "A lion! It runs",
        "a lion. it runs",
        "There is a fox.",
        "This is a dog",
        "This picture shows a dog.",
        "A cat is asleep on a chair.",
        "The dogs are two of many",
        "It's a dog",
        "I love NY",
        "Is it red?",
        "What a view!",
        "Wait...",
        "Wait\u2026",
        "Main St.",
        "Washington, D.C.",
        "Apples, pears etc.",
        "A lion. .",
        "A Clockwork Orange",
        "The Beatles",
        "The Starry Night by van Gogh",
        "The Great Wave off Kanagawa",
        "One Direction",
        "AN OWL",
        "THE LION SLEEPS",
        "(A lion.)",
        "[A lion.]",
        "A fox (it runs.)",
        "A Tale of Two Cities",
        "A RED FOX.",
        "A to Z",
        "A is for apple",
        "\u767d\u3044\u732b\u3002\u7720\u308b\u3002",
    ],
)
def test_what_is_no_phrase_is_quoted_untouched(caption: str) -> None:
    assert as_phrase(caption) == f'"{caption}"'


def test_quotation_marks_are_those_that_the_caption_has_not() -> None:
    assert quoted('He said "no".') == '\u201cHe said "no".\u201d'
    assert quoted('"a" \u201cb\u201d.') == '\u00ab"a" \u201cb\u201d.\u00bb'
    assert quoted('"Be the change."') == '"Be the change."'


def test_a_phrase_that_starts_a_sentence_keeps_its_capital() -> None:
    assert as_phrase("A lion.", starts=True) == "A lion"


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


@given(CAPTIONS, st.booleans())
def test_no_word_is_lost_and_no_sentence_ends_within(caption: str, starts: bool) -> None:
    phrase = as_phrase(caption, starts=starts)
    assert words_of(phrase) == words_of(caption)
    assert phrase.strip()
    assert phrase[-1] not in ".!?\u3002"
    assert starts or not phrase.startswith(("A ", "An "))
    assert caption.lower() in phrase.lower() or phrase.lower() in caption.lower()


@given(CAPTIONS)
def test_only_a_leading_determiner_changes_its_case(caption: str) -> None:
    phrase = as_phrase(caption)
    place = phrase.find(caption[1:].rstrip(" .,;:\u3002")[:10])
    assert place >= 0
    if phrase[0] != caption[0] and phrase[0].isalpha():
        assert caption.split()[0] in ("A", "An", "The", "Two")
