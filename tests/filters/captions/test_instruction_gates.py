"""Which texts of a model are a user's turn, and the reason of each that is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.captions.instruction_gates import (
    REASONS,
    instruction_fault,
    lead_in_fault,
    main_words,
    without_label,
)
from filters.captions.unwrapping import unwrapped
from filters.content_words import content_words
from schemas.subsets import EDIT, T2I, UNDERSTAND, Subset

FOX = "A red fox stands in the snow and looks at two birds."
HAT = "Add a red hat to the fox"
SALE = 'Write "SALE 50" above the door'

GOOD = [
    (T2I, FOX, "Could you show me a red fox standing in snow, looking at two birds?"),
    (T2I, FOX, "I want to see two birds in the snow and a red fox that looks at them"),
    (T2I, "A fox, painted in watercolour", "Please paint a watercolor fox"),
    (T2I, FOX, "A red fox in the snow, looking at two birds, please"),
    (T2I, "A user with a prompt", "Draw a user with a prompt"),
    (EDIT, HAT, "Please put a red hat on the fox."),
    (EDIT, "Rotate the photo clockwise", "Please rotate the picture clockwise"),
    (EDIT, "Make the image brighter", "Could you brighten this?"),
    (EDIT, SALE, "Put the words 'SALE 50' on top of the door"),
    (UNDERSTAND, FOX, "What is the fox doing?"),
    (UNDERSTAND, FOX, "Describe the scene."),
    (UNDERSTAND, FOX, "Write a caption for this image"),
]
BAD = [
    (T2I, FOX, "...", "empty"),
    (T2I, FOX, "A user: show me a red fox in snow with two birds", "talk"),
    (T2I, FOX, "Here is a red fox in the snow that looks at two birds", "talk"),
    (T2I, FOX, "Show the caption: a red fox in snow looks at two birds", "talk"),
    (T2I, FOX, "Okay, a red fox in the snow looks at two birds", "talk"),
    (T2I, FOX, "A red fox stands in the snow, and looks at two birds!", "copy"),
    (T2I, FOX, "Draw an animal outside in winter", "missing"),
    (T2I, FOX, "Show a red fox in the snow looking at three birds", "changed"),
    (T2I, FOX, "Show a red fox in the blue snow looking at birds", "changed"),
    (T2I, FOX, "Show an oil painting of a red fox in the snow looking at birds", "changed"),
    (T2I, FOX, "The red fox is standing in snow, and looks at birds", "no_request"),
    (EDIT, HAT, "Add a red hat to the fox.", "copy"),
    (EDIT, HAT, "The fox is a red hat.", "no_request"),
    (UNDERSTAND, FOX, "What is the answer to this question? Is it a fox?", "talk"),
    (EDIT, HAT, "Put a hat on the fox", "changed"),
    (EDIT, HAT, "Remove the red hat from the fox", "changed"),
    (EDIT, "Rotate the photo clockwise", "Rotate the photo", "changed"),
    (EDIT, "Move the fox to the left", "Shift the fox to the right", "changed"),
    (EDIT, SALE, "Put 'SALE' over the door", "changed"),
    (EDIT, SALE, "Put 'Sale 50' above the door", "changed"),
    (UNDERSTAND, FOX, "Is Paris a city?", "missing"),
    (UNDERSTAND, FOX, "The fox is happy.", "no_request"),
    (UNDERSTAND, FOX, "Is it a red fox that stands in the snow and looks at birds?", "gives_away"),
    (UNDERSTAND, FOX, "Why are there three birds?", "changed"),
]
LEAD_INS = [
    ("Show a picture of a fox", "Here is your fox.", ""),
    ("Show a picture of a fox", "Here is your picture of a fox:", ""),
    ("Show a picture of a fox", "Here is your image of a fox.", "medium"),
    ("Show a fox", "Here is your image of a fox.", ""),
    ("Show a fox", "Here is a blue fox.", "changed"),
    ("Show a fox", "Here is your fox! Do you like it?", "asks"),
    ("Show a fox", "", "empty"),
    ("Show a fox", "The assistant says: here is your fox", "talk"),
]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('The user: "I need a fox."', "I need a fox."),
        ("User says: show me a fox", "Show me a fox"),
        ("**Question:** What is it?", "What is it?"),
        ("Draw this: a fox", "Draw this: a fox"),
        ("User", "User"),
        ("Answer:", ""),
    ],
)
def test_a_label_before_the_words_is_removed(text: str, words: str) -> None:
    assert without_label(unwrapped(text)) == words


@pytest.mark.parametrize(("subset", "given", "text"), GOOD)
def test_texts_that_say_what_was_given_pass(subset: Subset, given: str, text: str) -> None:
    assert instruction_fault(text, given, subset, 0.5) is None


@pytest.mark.parametrize(("subset", "given", "text", "reason"), BAD)
def test_each_fault_has_its_reason(subset: Subset, given: str, text: str, reason: str) -> None:
    found = instruction_fault(text, given, subset, 0.5)
    assert found is not None
    assert found.reason == reason


@pytest.mark.parametrize(("instruction", "text", "reason"), LEAD_INS)
def test_a_lead_in_follows_its_instruction(instruction: str, text: str, reason: str) -> None:
    found = lead_in_fault(text, instruction)
    assert (found.reason if found else "") == reason


def test_every_reason_is_tried() -> None:
    tried = {case[3] for case in BAD} | {case[2] for case in LEAD_INS}
    assert tried == {*REASONS, ""}


def test_the_share_of_words_that_is_kept_is_a_threshold() -> None:
    given, text = "a fox, an owl, a hen and a cat", "Show a fox and an owl"
    assert len(main_words(given)) == 4
    assert instruction_fault(text, given, T2I, 0.5) is None
    found = instruction_fault(text, given, T2I, 0.51)
    assert found is not None
    assert found == ("missing", "2 of 4: hen, cat")


def test_endings_of_a_word_do_not_make_it_another() -> None:
    for words in ("fox foxes fox's", "ride rides riding", "run running runs", "box boxes boxed"):
        assert len(content_words(words)) == 1
    assert content_words("grass gas bus this is") == ["grass", "gas", "bus"]


@given(text=st.text(max_size=60), caption=st.text(max_size=60))
def test_any_text_has_an_outcome(text: str, caption: str) -> None:
    for subset in (T2I, EDIT, UNDERSTAND):
        found = instruction_fault(text, caption, subset, 0.5)
        assert found is None or found.reason in REASONS
    found = lead_in_fault(text, caption)
    assert found is None or found.reason in REASONS
