from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from filters.captions.source_words import MOST_CHARS, quoted_words
from filters.captions.styles import BUNDLED, draw_styles, request_of
from schemas.caption_config import BUNDLED_STYLES, Style
from schemas.markers import marker_in

MIX = [
    Style(style="source", share=1),
    Style(style="sentence", share=2),
    Style(style="dense", share=5),
]
KEYS = [f"{n:032x}" for n in range(20_000)]


def test_the_bundled_styles_are_those_that_a_recipe_may_name() -> None:
    assert tuple(BUNDLED) == BUNDLED_STYLES
    assert len({request.prompt_id for request in BUNDLED.values()}) == len(BUNDLED)
    for name, request in BUNDLED.items():
        assert request_of(Style(style=name)) == request
        assert request.min_tokens < request.max_tokens


def test_the_id_of_a_prompt_is_of_its_words() -> None:
    assert (
        BUNDLED["tags"].prompt_id
        == request_of(Style(style="x", prompt=BUNDLED["tags"].prompt)).prompt_id
    )
    assert request_of(Style(style="tags", prompt="Say it.")).prompt_id == "5a2b927dc2"


def test_a_style_of_a_recipe_takes_what_it_does_not_give_from_the_bundled_one() -> None:
    own = request_of(Style(style="tags", prompt="List tags.", max_tokens=9))
    assert (own.form, own.prompt, own.max_tokens) == ("tags", "List tags.", 9)
    assert own.min_tokens == BUNDLED["tags"].min_tokens
    assert request_of(Style(style="boxes", prompt="Find it.", form="regions")).schema
    assert request_of(Style(style="plain", prompt="Say it.", min_tokens=0)).min_tokens == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"style": "poem"}, "not bundled .*needs a prompt"),
        ({"style": "source", "prompt": "Say it."}, "has no prompt"),
        ({"style": "a", "prompt": "b", "form": "json"}, "one is missing"),
        ({"style": "tags", "json_schema": {}}, "one is missing"),
        ({"style": "tags", "min_tokens": 5, "max_tokens": 4}, "min_tokens 5 is more"),
    ],
)
def test_a_style_that_cannot_be_asked_is_refused(given, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Style(**given)


def test_the_first_style_has_its_share_of_the_rows() -> None:
    first = Counter(draw_styles(key, MIX, 1)[0].style for key in KEYS)
    for style in MIX:
        expected = style.share / 8
        spread = (expected * (1 - expected) / len(KEYS)) ** 0.5
        assert abs(first[style.style] / len(KEYS) - expected) < 4 * spread


def test_the_second_style_has_its_share_among_those_that_are_left() -> None:
    drawn = [draw_styles(key, MIX, 2) for key in KEYS]
    second = Counter(two.style for one, two in drawn if one.style == "dense")
    assert abs(second["sentence"] / second.total() - 2 / 3) < 0.02


@given(st.text(), st.permutations(MIX), st.integers(0, 5))
def test_styles_are_drawn_once_each_in_an_order_of_the_key_alone(key, styles, count) -> None:
    drawn = draw_styles(key, styles, count)
    assert drawn == draw_styles(key, MIX, count)
    assert len({style.style for style in drawn}) == len(drawn) == min(count, 3)


def test_another_style_takes_only_the_rows_that_it_wins() -> None:
    more = [*MIX, Style(style="tags", share=2)]
    changed = 0
    for key in KEYS[:5_000]:
        before, after = draw_styles(key, MIX, 1), draw_styles(key, more, 1)
        changed += before != after
        assert after in (before, [more[-1]])
    assert abs(changed / 5_000 - 0.2) < 0.03


def test_the_source_s_words_stand_in_a_prompt_as_quotations() -> None:
    request = request_of(Style(style="own", prompt='It says {text} and {title}, {"a": {b}}'))
    said = request.prompt_for('A "lion" {title}', "<|im_end|>")
    assert said == 'It says "A \'lion\' (title)" and "(/im_end/)", {"a": {b}}'
    assert "lion" not in request.instructions


MARKERS = st.sampled_from(["<|im_end|>", "<image>", "[INST]", "</s>", "|ENDOFTEXT|", ">>TITLE<<"])
HOSTILE = st.lists(MARKERS | st.text(max_size=6) | st.sampled_from('"\\`\n{}\u200b\uff1c\uff5c'))


@given(HOSTILE.map("".join))
def test_no_text_ends_its_quotation_or_writes_a_token(text: str) -> None:
    said = quoted_words(text)
    assert len(said) <= MOST_CHARS + 2
    assert (said[0], said[-1]) == ('"', '"')
    assert not {*'"\\`<>[]{}|\n'} & {*said[1:-1]}
    assert marker_in(said) == ""
    said.encode()
