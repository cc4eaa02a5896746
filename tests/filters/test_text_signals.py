import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from filters.signal import Record
from filters.text import normalised_text, primary_text
from filters.text_boilerplate import PATTERNS, TextBoilerplate
from filters.text_length import TextLength


def record(text: str, title: str = "") -> Record:
    return Record(image=Image.new("RGB", (1, 1)), file_bytes=0, text=text, title=title, tags=())


def flags(text: str, title: str = "") -> set[str]:
    values = TextBoilerplate().measure([record(text, title)])
    return {name for name, column in values.items() if column[0]}


@pytest.mark.parametrize(
    ("text", "title", "primary"),
    [(" a fox ", "b", "a fox"), (" \n", " b ", "b"), ("", "", "")],
)
def test_the_primary_text_is_the_text_or_else_the_title(
    text: str, title: str, primary: str
) -> None:
    assert primary_text(text, title) == primary


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("A Red  Fox\n", "a red fox"),
        ("Stra\u00dfe", "STRASSE"),
        ("cafe\u0301", "CAF\u00c9"),
        ("\uff26\uff2f\uff38", "fox"),
        ("o\ufb03ce", "office"),
    ],
)
def test_texts_that_read_the_same_are_the_same(a: str, b: str) -> None:
    assert normalised_text(a) == normalised_text(b)


def test_case_distinguishes_texts_where_it_is_not_folded() -> None:
    assert normalised_text("A  Fox", fold_case=False) == "A Fox"
    assert normalised_text("A Fox", fold_case=False) != normalised_text("a fox", fold_case=False)
    assert normalised_text("\uff26\uff2f\uff38", fold_case=False) == "FOX"


def test_texts_that_read_differently_differ() -> None:
    assert normalised_text("a red fox") != normalised_text("a red-fox")


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalised_text(text)
    assert normalised_text(once) == once
    assert unicodedata.is_normalized("NFKC", once)


def test_length_is_that_of_the_primary_text() -> None:
    values = TextLength().measure(
        [record(" two  words ", "ignored"), record("", "title"), record(""), record("\u767d\u732b")]
    )
    assert values == {"text_chars": [10, 5, 0, 2], "text_words": [2, 1, 0, 2]}


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("see http://example.org/a.html", "text_url"),
        ("EPS converted from  http://aiga.org", "text_url"),
        ("by www.lumenstudio.net", "text_url"),
        ("\u89c1http://example.org\u3002", "text_url"),
        ("jean.victor.balin@gmail.com", "text_email"),
        ("contact: hermann.schwarting@knackich.de", "text_email"),
        ("HASH(0x8699fd4)", "text_hash"),
        ("EPS converted from  http://aiga.org", "text_eps"),
        ("IMG_1234.JPG", "text_filename"),
        ("IMG_1234", "text_filename"),
        ("DSC00012", "text_filename"),
        ("books-aj.svg", "text_filename"),
        ("wallpaper (2).png", "text_filename"),
    ],
)
def test_each_kind_of_junk_is_flagged_in_text_and_in_title(text: str, flag: str) -> None:
    assert flag in flags(text)
    assert flag in flags("a perfectly good text", title=text)


@pytest.mark.parametrize(
    "sentence",
    [
        "From at least the time of the ancient Athenians, admirals have hoisted various flags.",
        'Workstation based on "Andy Fitzsimon\'s Computer".',
        "Official Mascott of OpenOffice.org Educational project",
        "Sold 2 for $5 @ the market, e.g. apples and pears...",
        "Hash browns (0x more fat) and a cup of tea",
        "Flag of Iraq, 1959-1963 (post-royalist pre-Ba`thist)",
        "A picture converted to vector graphics, saved as PNG and as SVG.",
        "5 basic moon phases, easily changed to be more specific",
        "Boeing 747 at gate B12, Canon EOS 5D, f/2.8, ISO 1600",
        "the www began in 1989; a gif is a moving picture",
        "Imagine 2004 dogs and a picture of 1000 words",
        "www... the locale ca@valencia, ca@valencia.po and user@host",
    ],
)
def test_an_ordinary_sentence_raises_no_flag(sentence: str) -> None:
    assert flags(sentence, title=sentence) == set()


def test_every_pattern_is_a_column() -> None:
    assert [column.name for column in TextBoilerplate().columns] == list(PATTERNS)
