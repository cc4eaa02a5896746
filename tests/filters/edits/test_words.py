"""The forms of words.yaml: whole, filled, and sentences."""

import re

import pytest
from edit_images import OTHERS, drawings, shape

from filters.edits.edit_type import NotFitting
from filters.edits.naming import named
from filters.edits.registry import EDITS, make_edit
from filters.edits.sentences import OWN, PLACEHOLDER, bank, filled
from schemas.markers import marker_in

GROUPS = [(name, group) for name, groups in bank().edits.items() for group in groups]


def test_every_type_has_forms_and_every_form_a_type():
    assert [*bank().edits] == [*EDITS]
    assert sum(len(bank().edits[name][group]) for name, group in GROUPS) >= 300


@pytest.mark.parametrize(("name", "group"), GROUPS)
def test_forms_are_commands_or_sentences_without_repeats(name: str, group: str):
    forms = bank().edits[name][group]
    assert len({*forms}) == len(forms) >= 6
    for form in forms:
        assert not marker_in(form)
        assert (form[-1] in ".?!") == (not form[0].islower()), form
        assert not re.search("[{}]", PLACEHOLDER.sub("", form)), form
        if form[0].islower():
            assert not re.search(r"[.?!;]", form), form


def test_words_that_are_written_have_only_letters_of_the_font():
    assert all(re.fullmatch(r"[A-Za-z0-9 .%]{2,20}", text) for text in bank().written)


@pytest.mark.parametrize("name", EDITS)
def test_every_placeholder_is_filled_in_every_form_that_can_be_drawn(name: str):
    image, drawn = shape(256), set[str]()
    for n in range(60):
        try:
            draws_and_words = _wordings(name, image, str(n))
        except NotFitting:
            continue
        for wording in draws_and_words:
            if wording is None:
                continue
            drawn.add(wording.group)
            for form in bank().edits[name][wording.group]:
                names = {found.lower() for found in PLACEHOLDER.findall(form)}
                assert names <= {*wording.values, *OWN}, form
    assert drawn == {*bank().edits[name]}


def _wordings(name: str, image, key: str):
    from filters.edits.edit_type import Draws
    from filters.edits.registry import _given

    given = _given(image, OTHERS)
    return EDITS[name].draw(given, Draws(key, name)).words()


@pytest.mark.parametrize("name", [n for n, each in EDITS.items() if "strength" in each.__slots__])
def test_strengths_are_said_in_words(name: str):
    said = {
        "slight": r"slightly|a bit|a little|small|fine|four|1\.5",
        "strong": r"much|a lot|far|considerably|large|coarse|two|3",
    }
    found = 0
    for n in range(40):
        try:
            edit = make_edit(name, drawings(3, 256)[0][0], str(n), others=OTHERS)
        except NotFitting:
            continue
        strength = str(edit.parameters["strength"])
        if strength != "plain":
            found += 1
            assert re.search(said[strength], edit.instruction), edit.instruction
    assert found


def test_the_words_of_the_source_name_the_image_now_and_then():
    found = [
        make_edit("flip", shape(256), str(n), source_words="A red fox.").instruction
        for n in range(60)
    ]
    assert 3 <= sum("the picture of a red fox" in text for text in found) <= 30


def test_a_value_with_braces_is_not_filled_again():
    assert filled("put {a_thing} {where}", {"a_thing": "{where}", "where": "here"}) == (
        "put {where} here"
    )


@pytest.mark.parametrize(
    ("title", "first", "again"),
    [
        ("red apple", "a red apple", "the red apple"),
        ("an old house", "an old house", "the old house"),
        ("A fox.", "a fox", "the fox"),
        ("the moon", "the moon", "the moon"),
        ("orange", "an orange", "the orange"),
        ("unicorn", "a unicorn", "the unicorn"),
        ("umbrella with rain drops", "an umbrella with rain drops", "the umbrella with rain drops"),
        ("hourglass", "an hourglass", "the hourglass"),
        ("european robin", "a european robin", "the european robin"),
        ("glasses", "glasses", "the glasses"),
        ("bus", "a bus", "the bus"),
        ("compass", "a compass", "the compass"),
        ("cheese", "cheese", "the cheese"),
        ("two owls", "two owls", "the two owls"),
        ("2 dead frogs", "2 dead frogs", "the 2 dead frogs"),
        ("AZ-lizard", 'the picture "AZ-lizard"', 'the picture "AZ-lizard"'),
        ("flag: Benin", 'the picture "flag: Benin"', 'the picture "flag: Benin"'),
        ("Is it art?", 'the picture "Is it art?"', 'the picture "Is it art?"'),
        ("\u732b", 'the picture "\u732b"', 'the picture "\u732b"'),
    ],
)
def test_a_thing_is_named_with_its_article_or_quoted(title: str, first: str, again: str):
    name = named(title)
    assert name
    assert (name.first, name.again) == (first, again)


@pytest.mark.parametrize("title", ["", "  ", "...", "x" * 61, "a b c d e f g h i", "<image>"])
def test_a_title_that_fits_into_no_sentence_names_nothing(title: str):
    assert named(title) is None
