"""Messages of every subset that are sound, and thirty ways in which they are not."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from schemas.conversation import message_faults
from schemas.subsets import EDIT, PREFERENCE, SUBSETS, T2I, UNDERSTAND, Subset

Messages = list[dict[str, Any]]


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


SOUND: dict[str, Messages] = {
    "t2i": [turn("user", "Draw a fox."), turn("assistant", "Here it is.<image_gen>")],
    "edit": [turn("user", "<image> Make it blue."), turn("assistant", "<image_gen>")],
    "understand": [
        turn("system", "You are helpful."),
        turn("user", "<image>\nWhat is this?"),
        turn("assistant", "A fox."),
        turn("user", "Is it red?"),
        turn("assistant", "Yes."),
    ],
    "preference": [turn("user", "Draw a fox."), turn("assistant", "<image_gen>")],
    "preference_edit": [turn("user", "Make <image> blue."), turn("assistant", "<image_gen>")],
}

# Name -> subset, how sound messages are changed, and the reason that is given.
MUTATIONS: dict[str, tuple[Subset, Callable[[Messages], Any], str]] = {
    "no messages": (T2I, lambda m: m.clear(), "malformed_message"),
    "a text": (T2I, lambda m: "Draw a fox.", "malformed_message"),
    "null": (T2I, lambda m: None, "malformed_message"),
    "a message that is a text": (T2I, lambda m: m.insert(0, "hi"), "malformed_message"),
    "no content": (T2I, lambda m: m[0].pop("content"), "malformed_message"),
    "no role": (T2I, lambda m: m[0].pop("role"), "malformed_message"),
    "a further field": (T2I, lambda m: m[0].update(name="me"), "malformed_message"),
    "null content": (T2I, lambda m: m[0].update(content=None), "malformed_message"),
    "content in parts": (T2I, lambda m: m[0].update(content=["hi"]), "malformed_message"),
    "user only": (T2I, lambda m: m.pop(), "wrong_roles"),
    "assistant only": (T2I, lambda m: m.pop(0), "wrong_roles"),
    "assistant first": (T2I, lambda m: m.reverse(), "wrong_roles"),
    "two users": (T2I, lambda m: m.insert(0, turn("user", "Hello.")), "wrong_roles"),
    "two answers": (UNDERSTAND, lambda m: m.append(turn("assistant", "So.")), "wrong_roles"),
    "ends with the user": (UNDERSTAND, lambda m: m.append(turn("user", "Why?")), "wrong_roles"),
    "LLaVA's role": (T2I, lambda m: m[0].update(role="human"), "wrong_roles"),
    "role in capitals": (T2I, lambda m: m[0].update(role="User"), "wrong_roles"),
    "late system": (UNDERSTAND, lambda m: m.append(m.pop(0)), "wrong_roles"),
    "two systems": (UNDERSTAND, lambda m: m.insert(0, turn("system", "x")), "wrong_roles"),
    "system only": (UNDERSTAND, lambda m: m.__delitem__(slice(1, None)), "wrong_roles"),
    "an empty question": (T2I, lambda m: m[0].update(content=""), "empty_message"),
    "a blank answer": (UNDERSTAND, lambda m: m[2].update(content=" \n"), "empty_message"),
    "no generated image": (T2I, lambda m: m[1].update(content="Here."), "wrong_marks"),
    "two generated images": (
        PREFERENCE,
        lambda m: m[1].update(content="<image_gen><image_gen>"),
        "wrong_marks",
    ),
    "generated in the question": (
        T2I,
        lambda m: m.__setitem__(slice(None), [turn("user", "<image_gen>"), turn("assistant", "x")]),
        "wrong_marks",
    ),
    "no input image": (EDIT, lambda m: m[0].update(content="Make it blue."), "wrong_marks"),
    "two input images": (EDIT, lambda m: m[0].update(content="<image><image>"), "wrong_marks"),
    "input image in the answer": (
        EDIT,
        lambda m: (
            m[0].update(content="Make it blue."),
            m[1].update(content="<image> <image_gen>"),
        ),
        "wrong_marks",
    ),
    "input image of t2i": (T2I, lambda m: m[0].update(content="<image> Draw."), "wrong_marks"),
    "generated image of understand": (
        UNDERSTAND,
        lambda m: m[4].update(content="Yes.<image_gen>"),
        "wrong_marks",
    ),
    "the end of a turn": (
        T2I,
        lambda m: m[0].update(content="Draw.<|im_end|>"),
        "marker_in_text",
    ),
    "a pad of an image": (
        EDIT,
        lambda m: m[0].update(content="<image> <|image_pad|>"),
        "marker_in_text",
    ),
}


@pytest.mark.parametrize("name", SUBSETS)
def test_sound_messages_of_each_subset_have_no_fault(name: str) -> None:
    assert message_faults(SOUND[SUBSETS[name].kind.name], SUBSETS[name]) == []


@pytest.mark.parametrize("name", MUTATIONS)
def test_each_mutation_is_found(name: str) -> None:
    subset, change, reason = MUTATIONS[name]
    messages = deepcopy(SOUND[subset.name])
    changed = change(messages)
    given = changed if name in ("a text", "null") else messages
    assert reason in {fault.reason for fault in message_faults(given, subset)}


def test_there_are_thirty_mutations() -> None:
    assert len(MUTATIONS) >= 30


def test_a_loader_whose_tokenizer_splits_special_tokens_does_not_look_for_them() -> None:
    messages = deepcopy(SOUND["t2i"])
    messages[0]["content"] = "Draw.<|im_end|>"
    assert message_faults(messages, T2I, markers=False) == []
