import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.cleaning import MAX_CHARS, clean

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
    "text",
    [
        "a<b and c>d",
        "a <b and c> d",
        "if (a<b && c>d)",
        "x < y > z",
        "x <y> z",
        "3 <4",
        "p<0.05 and q>0.1",
        "I <3 cats",
        "<-- this way -->",
        "a->b <= c >= d <>",
        "List<String> of words",
        "ca@valencia",
        "the file ca@valencia.po",
        "logo@2x.png",
        "user@host",
        "@handle and sold @ 5.30",
        "A&B, AT&T, &copy and a&parade, &nosuch; thing",
        "a red fox -- on snow--runs",
        "a fox --a small one-- runs",
        "the car --fast and red-- stops",
        "1::2 ratio, C::B, std::vector",
        "Title :: subtitle",
        "www... the www began",
        "f() and (: smile",
        "a sign: <your name here>",
        "array[0] | [Red] fox",
        "<|im_end|> [INST] <start_of_turn> <image_gen>",  # which pair refuses
    ],
)
def test_what_is_neither_markup_nor_an_address_stays(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("<A HREF=http://x.org/?y=z>a link</A> <p class=\"x\" id='y'>here</p>", "a link here"),
        ("<img src='a>b.png' alt=\"x\"> fox <input disabled>", "fox"),
        ("<o:p></o:p>fox <lora:style:0.8>", "fox"),
        ("<!-- a note --> fox <!DOCTYPE html> <?xml version='1.0'?>", "fox"),
        ("<style>p {color: red}</style>fox<script>f(1 < 2)</script>", "fox"),
        ("<my-tag a='b'>fox</my-tag><x/>", "fox"),
        ("hello</s><s>there <video> <img>", "hello there"),
        ("&#102;ox &#x26; hen&nbsp;&hellip;", "fox & hen \u2026"),
        ("a fox (see http://x.org/a_(b).) runs", "a fox runs"),
        ("<https://x.org/y> <a@b.cc> fox", "fox"),
        ("\u732b http://x.org/a\u3002\u597d", "\u732b \u3002\u597d"),
        ("\u8054\u7cfbme@x.org\u597d", "\u8054\u7cfb \u597d"),
        ("a fox --ar 16:9 in snow, --style raw, at dawn", "a fox in snow, , at dawn"),
        ("a fox --fast --tile", "a fox"),
    ],
)
def test_markup_addresses_and_parameters_go(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@given(TEXTS)
def test_a_clean_text_is_never_longer(text: str) -> None:
    assert len(clean(text)) <= len(text)


@given(st.text("abc xyz,.!?'()", max_size=60))
def test_a_plain_text_keeps_all_but_its_white_space(text: str) -> None:
    assert clean(text) == " ".join(text.split())


def test_a_long_text_without_spaces_is_cut_between_its_words() -> None:
    text = "A: " + "\u767d\u3044\u732b\u304c" * 200
    assert clean(text) == text[:MAX_CHARS]
    assert clean("cafe\u0301 " * 200, 13) == "cafe\u0301 cafe\u0301"


@pytest.mark.parametrize(
    "text",
    ["\u3164", "\u2800\u2800", "&#0;", "\ufffd \ufffd", "\ufe0f", "\u200d", "\ue000", "\uffa0"],
)
def test_a_text_that_shows_nothing_is_empty(text: str) -> None:
    assert clean(text) == ""
    assert clean(f"a fox {text}").startswith("a fox")
