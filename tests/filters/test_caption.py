import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.caption import MAX_CHARS, clean, source_caption

# Pieces that removals act on, so that hypothesis puts them inside one another.
MARKUP = ("&amp;", "&lt;", "&gt;", "lt;", "<", ">", "<b>", "</b>", "(", ")")
PROMPT = ("::", "::2", "--", "--ar", "--no", "--v", "\u2014v", "5", "16:9")
WORDS = ("a", "http://", "www.", "x@y.zz", "mail:", "@", ".", ",", " ", " ", " ")
CONTROLS = ("\x00", "\u200b", "\u200d", "\ud800")
PIECES = st.sampled_from(MARKUP + PROMPT + WORDS + CONTROLS)
TEXTS = st.one_of(st.text(), st.lists(PIECES).map("".join))


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a <b>red</b> fox<br/>and a hen", "a red fox and a hen"),
        ("Minorities &amp; Muslims, &quot;caf&eacute;&quot;", 'Minorities & Muslims, "caf\xe9"'),
        ("&amp;lt;b&amp;gt;bold", "bold"),
        ("1 < 2 and 3 > 2, I <3 you", "1 < 2 and 3 > 2, I <3 you"),
        ("tab\there\r\nand\x00there\u2028end", "tab here and there end"),
        ("zero\u200bwidth soft\u00adhyphen \ud83d", "zerowidth softhyphen"),
        ("family \U0001f468\u200d\U0001f469", "family \U0001f468\u200d\U0001f469"),
        ("Telefono (email: frollandin@email.it)", "Telefono"),
        ("Data from: NASA http://eol.jsc.nasa.gov, 1999", "Data from: NASA 1999"),
        ("https://s.mj.run/abc <https://s.mj.run/def> a fox --v 5", "a fox"),
        ("a fox --ar 16:9 --v 5.2 --s 250 --style raw", "a fox"),
        ("a fox --no text, frame --niji 6 --tile", "a fox"),
        ("a fox \u2014ar 3:2 --v5", "a fox"),
        ("hot:: dog::2 bread::-.5, milk::1.5", "hot dog bread , milk"),
        ("std::vector --help me --arid land", "std::vector --help me --arid land"),
        ("El perro \u2014no quiero\u2014 ladra", "El perro \u2014no quiero\u2014 ladra"),
        ("  ", ""),
    ],
)
def test_cleaning_leaves_the_words(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@given(TEXTS, st.integers(1, 60))
def test_cleaning_twice_changes_nothing(text: str, max_chars: int) -> None:
    once = clean(text, max_chars)
    assert clean(once, max_chars) == once


@given(TEXTS)
def test_no_control_character_or_lone_surrogate_comes_out(text: str) -> None:
    assert not {unicodedata.category(char) for char in clean(text)} & {"Cc", "Cs", "Zl", "Zp"}


@given(st.lists(st.text("abc", min_size=1), max_size=30), st.integers(1, 40))
def test_a_long_text_is_cut_after_a_whole_word(words: list[str], max_chars: int) -> None:
    cut = clean(" ".join(words), max_chars)
    assert len(cut) <= max_chars
    if words and len(words[0]) <= max_chars:
        assert cut.split() == words[: len(cut.split())]
        following = words[len(cut.split()) :][:1]
        assert all(len(cut) + 1 + len(word) > max_chars for word in following)


def test_hostile_markup_costs_little() -> None:
    assert clean("&" + "amp;" * 100_000)[0] == "&"
    assert len(clean("<" * 500_000 + "a@" * 500_000)) <= MAX_CHARS


@pytest.mark.parametrize(
    ("text", "title", "tags", "expected"),
    [
        ("A stylized projection screen", "Screen", ["a"], ("A stylized projection screen", "text")),
        ("Red fox", "fox", ["animal"], ("Fox, with animal", "title_and_tags")),
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
