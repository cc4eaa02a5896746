"""Conversations as data sets write them, read into turns of system, user and assistant."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.sources.columns import as_text
from schemas.markers import IMAGE

# LLaVA writes human and gpt; others user and assistant.
_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A message of a conversation as listed."""

    role: str  # system, user or assistant
    content: str


def turns_of(value: Any) -> tuple[Turn, ...]:
    """Read a conversation.

    Args:
        value: a list of turns, or JSON of one. A turn is {from, value}, {role, content} or
            {user, assistant}. Content is a text, or a list of {type: text, text} and {type: image}.

    Raises:
        ValueError: it is none; shows the first turn that is not one.

    >>> [turn.role for turn in turns_of([{"from": "human", "value": "<image> What is it?"}])]
    ['user']
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"turns are no JSON: {value!r:.80}") from error
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"turns are {value!r:.80}, expected a list of them")
    return tuple(turn for item in value for turn in _turns(item))


def _turns(item: Any) -> Iterator[Turn]:
    if not isinstance(item, Mapping):
        raise ValueError(f"a turn is {item!r:.80}, expected a mapping")
    if "user" in item and "assistant" in item:
        yield Turn(role="user", content=_content(item["user"]))
        yield Turn(role="assistant", content=_content(item["assistant"]))
        return
    role = item.get("from", item.get("role"))
    if not isinstance(role, str) or role.lower() not in _ROLES:
        known = ", ".join(_ROLES)
        raise ValueError(f"a turn is of {role!r:.80}, expected one of {known}")
    yield Turn(role=_ROLES[role.lower()], content=_content(item.get("value", item.get("content"))))


def _content(value: Any) -> str:
    if not isinstance(value, list | tuple):
        return as_text(value)
    parts: list[str] = []
    for part in value:
        if isinstance(part, Mapping) and part.get("type") in ("image", "image_url"):
            parts.append(IMAGE)
        elif isinstance(part, Mapping) and isinstance(part.get("text"), str):
            parts.append(as_text(part["text"]))
        else:
            raise ValueError(f"a part of a turn is {part!r:.80}, expected a text or an image")
    return "\n".join(parts)
