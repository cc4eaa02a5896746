import hashlib
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.templates.template_file import (
    Templates,
    converse,
    load_templates,
    read_template_file,
)
from schemas.store.storage import CorpusError

BUNDLED = load_templates("t2i-v1")
CAPTION = "A red fox"
FITTED = "a red fox"
WORDS_OF_CAPTIONS = ("A", "An", "The", "lion", "fox.", "St.", "It", ".", "...", "!", "Paris")
WORDS = {
    "opener": BUNDLED.openers,
    "verb": BUNDLED.verbs,
    "participle": BUNDLED.participles,
    "adjective": BUNDLED.adjectives,
    "noun": BUNDLED.nouns,
}


def only(**words: str) -> Templates:
    """Return the bundled templates with one choice of each given part."""
    lists = {f"{name}s": (word,) for name, word in words.items() if name != "user"}
    return BUNDLED.model_copy(update=lists | ({"user": words["user"]} if "user" in words else {}))


def every_turn() -> Iterator[tuple[str, str]]:
    """Yield (user, assistant) of every combination of parts, each at least once."""
    user = product(BUNDLED.openers, BUNDLED.verbs, BUNDLED.adjectives, BUNDLED.nouns)
    for opener, verb, adjective, noun in user:
        if "{verb}" in opener or verb == BUNDLED.verbs[0]:
            pair = converse(
                only(opener=opener, verb=verb, adjective=adjective, noun=noun), "k", CAPTION
            )
            yield pair.user, pair.assistant
    answer = product(BUNDLED.answers, BUNDLED.participles, BUNDLED.adjectives, BUNDLED.nouns)
    for form, participle, adjective, noun in answer:
        pair = converse(
            only(answer=form, participle=participle, adjective=adjective, noun=noun), "k", CAPTION
        )
        yield pair.user, pair.assistant


def test_a_turn_of_each_kind_never_changes():
    pairs = [converse(BUNDLED, f"{n:032x}", CAPTION) for n in range(4)]
    assert [(pair.user, pair.assistant, pair.template) for pair in pairs] == [
        (
            "Imagine a figure of a red fox",
            "I generated a painting of a red fox<image_gen>",
            "t2i-v1/u-o7-j0-n3/a-f2-n6",
        ),
        (
            "Can you craft a generated picture of a red fox",
            "Here's a rendered drawing of a red fox<image_gen>",
            "t2i-v1/u-o1-v3-j6-n2/a-f0-j4-n5",
        ),
        (
            "Can you sketch a designed sketch of a red fox",
            "The image shows a red fox<image_gen>",
            "t2i-v1/u-o1-v2-j1-n7/a-f3",
        ),
        (
            "I need a generated painting of a red fox",
            "I have sketched a sketch of a red fox<image_gen>",
            "t2i-v1/u-o3-j6-n6/a-f1-p2-n7",
        ),
    ]


def test_every_combination_of_the_bundled_grammar_reads_well():
    turns = {turn for pair in every_turn() for turn in pair}
    assert len(turns) == (3 * 9 + 5) * 7 * 8 + (7 * 8 + 9 * 8 + 8 + 1)
    for turn in turns:
        words = turn.removesuffix("<image_gen>")
        assert not re.search(r"[{}<>]|  |^ | $| [,.]", words), turn
        assert words.count(FITTED) == 1, turn
        assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", words), turn
        assert words[0].isupper(), turn


def test_only_the_answer_ends_in_the_mark():
    for user, assistant in every_turn():
        assert "<" not in user
        assert assistant.endswith("<image_gen>")
        assert assistant.count("<image_gen>") == 1


@pytest.mark.parametrize(
    "caption",
    [
        *("{noun} of {caption}", r"a \1 \g<0> \n", "{article} owl", "an  odd   gap ", "{"),
        *("100%s {0}", "A lion.", "A lion. It runs.", "Main St."),
    ],
)
def test_a_faithful_caption_is_copied_as_it_is(caption: str):
    pair = converse(BUNDLED, "00ff", caption, faithful=True)
    assert pair.user.count(caption) == 1
    assert pair.assistant.count(caption) == 1


@pytest.mark.parametrize("caption", ["{noun} of {caption}", r"a \1 \g<0> \n", "{article} owl", "{"])
def test_a_caption_is_no_template(caption: str):
    pair = converse(BUNDLED, "00ff", caption)
    assert pair.user.endswith(f" of {caption}")
    assert pair.assistant.count(caption) == 1


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_faithful_caption_stands_at_the_end_of_the_instruction(caption: str):
    assert converse(BUNDLED, "00ff", caption, faithful=True).user.endswith(f" of {caption}")


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS_OF_CAPTIONS), min_size=1))
def test_no_answer_has_a_full_stop_before_its_image(words: list[str]):
    caption = " ".join(words)
    for number in range(4):
        pair = converse(BUNDLED, f"{number:032x}", caption)
        assert not pair.assistant.removesuffix("<image_gen>").endswith(".")
        assert not pair.user.endswith(".")
        said = re.findall(r"\w+", caption.lower())
        assert re.findall(r"\w+", pair.user.lower())[-len(said) :] == said or not said


def test_a_caption_is_fitted_to_its_place_in_a_form(write):
    path = write(
        user='{opener} "{caption}"',
        answers=[
            "{caption}: done<image_gen>",
            "Done! {caption}<image_gen>",
            "x {caption}<image_gen>",
        ],
    )
    templates = load_templates(path)
    pairs = [converse(templates, f"{n:032x}", "A lion.") for n in range(20)]
    assert {pair.user.partition(' "')[2] for pair in pairs} == {'A lion."'}
    assert {pair.assistant for pair in pairs} == {
        "A lion: done<image_gen>",
        "Done! A lion<image_gen>",
        "x a lion<image_gen>",
    }


def test_the_id_names_what_was_drawn():
    for number in range(200):
        pair = converse(BUNDLED, f"{number:032x}", CAPTION)
        user, answer = re.fullmatch("t2i-v1/u(.*)/a(.*)", pair.template).groups()  # type: ignore[union-attr]
        drawn = {letter: int(n) for letter, n in re.findall(r"-([a-z])(\d+)", user)}
        assert pair.user.endswith(f"{BUNDLED.nouns[drawn['n']]} of {FITTED}")
        assert ("v" in drawn) == ("{verb}" in BUNDLED.openers[drawn["o"]])
        assert pair.assistant.startswith(BUNDLED.answers[int(answer[2])].split("{")[0].strip())


def test_keys_draw_every_form_opener_and_noun():
    templates = [converse(BUNDLED, f"{n:032x}", CAPTION).template for n in range(500)]
    for letter, words in (("o", BUNDLED.openers), ("f", BUNDLED.answers), ("n", BUNDLED.nouns)):
        drawn = {found for t in templates for found in re.findall(rf"-{letter}(\d+)", t)}
        assert len(drawn) == len(words)


@pytest.fixture
def write(tmp_path: Path):
    """Return a function that writes a copy of the bundled file with some lists changed."""

    def write(**changes: object) -> str:
        data = yaml.safe_load(read_template_file("t2i-v1")) | changes
        file = tmp_path / "mine.yaml"
        file.write_text(yaml.safe_dump(data))
        return str(file)

    return write


def test_a_file_of_ones_own_is_read_by_path(write):
    path = write(name="mine", nouns=["woodcut"])
    pair = converse(load_templates(path), "00ff", CAPTION)
    assert pair.template.startswith("mine/")
    assert "woodcut" in pair.user


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"answers": ["Here is {caption}"]}, "must end in <image_gen>"),
        ({"answers": ["<image_gen> is {caption}<image_gen>"]}, "must not hold <image_gen>"),
        ({"answers": ["<image> is {caption}<image_gen>"]}, "must not hold <image>"),
        ({"answers": ["[INST] {caption}<image_gen>"]}, r"must not hold \[INST\]"),
        ({"openers": ["<|im_start|>Draw"]}, r"must not hold <\|im_start\|>"),
        ({"nouns": ["<s>"]}, "must not hold <s>"),
        ({"user": "{opener} {noun}"}, r"user .* must hold \{caption\}"),
        ({"user": "{opener} {caption}<image_gen>"}, "must not hold <image_gen>"),
        ({"user": "{opener} {noum} of {caption}"}, r"unknown placeholder \{noum\}; allowed: "),
        ({"user": "{opener} {noun of {caption}"}, "brace that is no placeholder"),
        ({"user": "{opener} {article} {caption}"}, r"\{article\} must stand before a word"),
        ({"openers": ["{opener} draw"]}, "must not hold an opener"),
        ({"openers": ["Draw {wat}"]}, r"unknown placeholder \{wat\}"),
        ({"nouns": ["{verb}"]}, "'{verb}' must not hold braces"),
        ({"nouns": []}, "nouns"),
        ({"nouns": [""]}, "nouns"),
        ({"nouns": [3]}, "nouns"),
        ({"nuons": ["a"]}, "nuons"),
        ({"name": "with space"}, "name"),
    ],
)
def test_a_fault_of_a_template_file_is_named_before_any_work(write, changes: dict, fault: str):
    path = write(**changes)
    with pytest.raises(CorpusError, match=f"(?s)pair.templates: {path}: .*{fault}"):
        load_templates(path)


def test_a_file_that_is_not_yaml_is_named(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text("name: [")
    with pytest.raises(CorpusError, match=f"pair.templates: {file}: "):
        load_templates(str(file))


def test_a_missing_file_is_named_with_those_there_are():
    with pytest.raises(CorpusError, match=r"t2i-v9: no such file; bundled are .*t2i-v1.*; "):
        load_templates("t2i-v9")


def test_a_pinned_file_that_changed_is_refused(write):
    pinned = hashlib.sha256(read_template_file(write())).hexdigest()
    assert load_templates(write(), sha256=pinned) == BUNDLED
    with pytest.raises(CorpusError, match=f"sha256 is [0-9a-f]{{64}}, the recipe says {pinned}"):
        load_templates(write(nouns=["woodcut"]), sha256=pinned)
