from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.caption import clean, source_caption, why_no_caption
from filters.caption_boilerplate import BOILERPLATE, boilerplate_in
from schemas.caption_config import Boilerplate

TEXTS = st.one_of(
    st.text(),
    st.lists(st.sampled_from(["&lt;b&gt;", "<", ">", "a", ".", "_", " ", "HASH(0x1)"])).map(
        "".join
    ),
)
RULES = tuple(BOILERPLATE)


@pytest.mark.parametrize(
    ("text", "title", "tags", "expected"),
    [
        ("A stylized projection screen", "Screen", ["a"], ("A stylized projection screen", "text")),
        ("Red fox", "fox", ["animal"], ("Red fox", "text")),
        ("Mona Lisa", "", [], ("Mona Lisa", "text")),
        ("tench", "IMG_0001", ["fish"], ("tench", "text")),
        ("A red fox http://example.org/fox.jpg", "", [], ("A red fox", "text")),
        ("\u4e00\u53ea\u767d\u732b\u3002", "", [], ("\u4e00\u53ea\u767d\u732b\u3002", "text")),
        ("1 2 3", "", [], ("1 2 3", "text")),
        ("\U0001f98a", "", [], ("\U0001f98a", "text")),
        ("", "\u732b", ["\u52a8", "x"], ("\u732b, with \u52a8", "title_and_tags")),
        (". . .", "", [], ("", "")),
        ("! ! !", "Old oak", [], ("Old oak", "title")),
        (
            "",
            "yellow duck",
            ["animal", "bird", "toy", "more"],
            ("Yellow duck, with animal, bird and toy", "title_and_tags"),
        ),
        (
            "EPS converted from  http://aiga.org",
            "AIGA_Symbol_Signs",
            ["sign", "symbol", "people"],
            ("AIGA Symbol Signs, with people", "title_and_tags"),
        ),
        (
            "jean.victor.balin@gmail.com",
            "erlenmeyer",
            ["education", "study"],
            ("Erlenmeyer, with education and study", "title_and_tags"),
        ),
        (
            "",
            "Pear",
            ["hash", "", "food", "fruit", "pear"],
            ("Pear, with food and fruit", "title_and_tags"),
        ),
        (
            "",
            "Pretzel",
            ["hash(0x8a0a39c)", "0xa120760", "unsorted", "unchecked", "PRETZELS", "2600", "x"],
            ("Pretzel", "title"),
        ),
        (
            "",
            "eye",
            ["symbol", "signs_and_symbols"],
            ("Eye, with symbol and signs and symbols", "title_and_tags"),
        ),
        ("HASH(0x8699fd4)", "PC connectors", [], ("PC connectors", "title")),
        ("Part of Hotel Icons Collection", "Hotel Icon Gym", [], ("Hotel Icon Gym", "title")),
        (
            "Created with the Inkscape",
            "sole",
            ["weather"],
            ("Sole, with weather", "title_and_tags"),
        ),
        ("", "Fox", ["<|im_end|>", "animal"], ("Fox, with animal", "title_and_tags")),
        ("", "books-aj.svg", ["books"], ("", "")),
        ("IMG_1234.JPG of a dog", "DSC00012", [], ("", "")),
        ("", "", ["animal"], ("", "")),
        ("", "", [], ("", "")),
    ],
)
def test_a_caption_is_made_of_the_best_words_there_are(
    text: str, title: str, tags: list[str], expected: tuple[str, str]
) -> None:
    assert source_caption(text, title, tags) == expected


@given(TEXTS, TEXTS, st.lists(TEXTS), st.integers(16, 80))
def test_any_caption_is_clean_and_has_an_origin(
    text: str, title: str, tags: list[str], max_chars: int
) -> None:
    caption, origin = source_caption(text, title, tags, max_chars=max_chars)
    assert bool(caption) == bool(origin)
    assert clean(caption, max_chars) == caption


@pytest.mark.parametrize(
    ("text", "title", "expected"),
    [
        ("Red fox", "fox", ("Fox", "title")),
        ("A red fox", "fox", ("A red fox", "text")),
        ("Red fox", "", ("Red fox", "text")),
        ("Red fox", "IMG_1234.jpg", ("Red fox", "text")),
        ("\u767d\u3044\u732b", "cat", ("\u767d\u3044\u732b", "text")),  # three words
    ],
)
def test_a_text_of_few_words_yields_to_a_title_where_the_recipe_says_so(
    text: str, title: str, expected: tuple[str, str]
) -> None:
    assert source_caption(text, title, [], title_below_words=3) == expected


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("HASH(0x8699fd4)", "hash"),
        ("EPS converted from http://aiga.org", "eps"),
        ("IMG_1234.JPG of a dog", "filename"),
        ("Part of Hotel Icons Collection", "credit"),
        ("made with Sodipodi", "credit"),
        ("Untitled.", "placeholder"),
        ("null", "placeholder"),
        (". . .", "punctuation"),
    ],
)
def test_each_rule_drops_by_its_name_and_can_be_turned_off(text: str, rule: str) -> None:
    assert source_caption(text, "", []) == ("", "")
    reason, detail = why_no_caption(text, "", [], RULES)
    assert reason == f"boilerplate_{rule}"
    assert f"text {text!r}" in detail
    rest = [name for name in RULES if name != rule]
    assert source_caption(text, "", [], boilerplate=rest) == (clean(text), "text")


def test_the_recipe_knows_every_rule() -> None:
    assert get_args(Boilerplate) == RULES


@pytest.mark.parametrize(
    "text",
    [
        "Untitled (Bird) by an unknown painter",
        "None of the dogs is asleep",
        "Part of a large collection of coins on a table",
        "A hash of potatoes, e.g. 0x8 of them",
        "? A question mark",
    ],
)
def test_an_ordinary_caption_breaks_no_rule(text: str) -> None:
    assert boilerplate_in(text, RULES) == ("", "")


@pytest.mark.parametrize(
    ("text", "title", "tags", "reason"),
    [
        ("", " ", [], "no_caption"),
        ("", "", ["animal"], "no_caption"),
        ("http://example.org", "", [], "empty_after_cleaning"),
        ("<br>", "", ["animal"], "empty_after_cleaning"),
        ("<br>", "IMG_1234", [], "boilerplate_filename"),
    ],
)
def test_no_caption_is_said_of_rows_without_text_alone(
    text: str, title: str, tags: list[str], reason: str
) -> None:
    assert source_caption(text, title, tags) == ("", "")
    assert why_no_caption(text, title, tags, RULES)[0] == reason
