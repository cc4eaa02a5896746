"""The rules of a sample's messages: one piece of code for build, verify and loader."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from schemas.markers import IMAGE, IMAGE_GEN, MARKS, marker_in
from schemas.subsets import Subset

ROLES: Final = ("system", "user", "assistant")


class MessageFault(NamedTuple):
    """A rule that messages break."""

    reason: str  # stable class: the counter's name
    detail: str  # with the offending value
    dropped: bool = False  # by a rule, and not unusable


def message_faults(messages: Any, subset: Subset, *, markers: bool = True) -> list[MessageFault]:
    """Return the rules that the messages of a sample break; none if they are sound.

    `malformed_message`: a message is {role, content}, both texts.
    `wrong_roles`: an optional system message, then user and assistant in turn; the assistant ends.
    `empty_message`: a message has words or a mark.
    `wrong_marks`: a mark stands as often as the subset has images: `<image>` in a user's message,
    `<image_gen>` in the last answer, so that input images stand before the generated one.
    `marker_in_text`: no text spells another special token of a chat template.

    Args:
        messages: as parsed from JSON.
        subset: the subset of the sample.
        markers: whether texts are searched for special tokens; a tokenizer that splits them in
            texts, as the loader's, need not.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        what = f"messages are {messages!r:.80}, expected a list of role and content"
        return [MessageFault("malformed_message", what)]
    malformed = [
        MessageFault(
            "malformed_message",
            f"messages[{number}] is {message!r:.200}, expected role and content",
        )
        for number, message in enumerate(cast(Sequence[Any], messages))
        if not _is_message(message)
    ]
    if malformed:
        return malformed
    sound = cast(Sequence[Mapping[str, str]], messages)
    contents = _content_faults(sound, markers)
    return [*_role_faults(sound), *contents, *_mark_faults(sound, subset)]


def _is_message(message: Any) -> bool:
    if not isinstance(message, Mapping):
        return False
    fields = cast(Mapping[str, Any], message)
    return set(fields) == {"role", "content"} and all(isinstance(v, str) for v in fields.values())


def _role_faults(messages: Sequence[Mapping[str, str]]) -> Iterator[MessageFault]:
    roles = [message["role"] for message in messages]
    turns = roles[1:] if roles[0] == "system" else roles
    expected = ["user", "assistant"] * (len(turns) // 2 or 1)
    if turns != expected:
        shown = ", ".join(roles)[:200]
        yield MessageFault(
            "wrong_roles",
            f"roles are {shown}; expected user and assistant in turn, the assistant last",
        )


def _content_faults(messages: Sequence[Mapping[str, str]], markers: bool) -> Iterator[MessageFault]:
    for number, message in enumerate(messages):
        if not message["content"].strip():
            yield MessageFault("empty_message", f"messages[{number}] has no words")
        elif markers and (marker := marker_in(message["content"], allowed=MARKS)):
            detail = f"messages[{number}] spells {marker!r}, a token of chat templates"
            yield MessageFault("marker_in_text", f"{detail}: {message['content']!r:.200}")


def _mark_faults(messages: Sequence[Mapping[str, str]], subset: Subset) -> Iterator[MessageFault]:
    for mark, expected in subset.marks.items():
        found = sum(message["content"].count(mark) for message in messages)
        if found != expected:
            detail = f"{found} {mark} marks in the messages, expected {expected}"
            yield MessageFault("wrong_marks", detail)
    for number, message in enumerate(messages):
        is_last = number == len(messages) - 1
        if IMAGE in message["content"] and message["role"] != "user":
            yield MessageFault("wrong_marks", f"{IMAGE} in a message of the {message['role']}")
        if IMAGE_GEN in message["content"] and not (is_last and message["role"] == "assistant"):
            yield MessageFault(
                "wrong_marks", f"{IMAGE_GEN} in messages[{number}], not the last answer"
            )
