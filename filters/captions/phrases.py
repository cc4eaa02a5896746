"""What models say instead of a caption, or around one: the patterns of `phrases.yaml`, compiled."""

import re
from functools import cache
from importlib.resources import files
from typing import Literal

from filters.text import normalised_text
from schemas.strict_yaml import load_yaml

Kind = Literal["refusals", "openings", "closings"]

_APOSTROPHES = str.maketrans("\u2019\u2018\u02bc\uff07", "''''")
_SENTENCE = "(?:^|(?<=[.!?\u2026\u3002\n])|(?<=[.!?] ))"  # the beginning of one
_TAIL = 300  # characters in which a closing sentence is looked for


@cache
def patterns(kind: Kind) -> "re.Pattern[str]":
    """Compile all patterns of a kind, of all languages, as one."""
    text = (files("filters.captions") / "phrases.yaml").read_text("utf-8")
    by_language: dict[str, dict[Kind, str]] = load_yaml(text)
    every = [line for of in by_language.values() for line in of[kind].splitlines()]
    return re.compile("|".join(_alternative(pattern, n) for n, pattern in enumerate(every)), re.I)


def straight(text: str) -> str:
    """Replace curved apostrophes by straight ones; each character stays in its place."""
    return text.translate(_APOSTROPHES)


def refusal_in(text: str) -> str:
    """Return the words of a refusal to answer at the beginning of a sentence, or ''.

    >>> refusal_in("A cat.  I\u2019m SORRY, but the face is hidden.")
    "i'm sorry,"
    >>> refusal_in('A sign that says "Sorry, I am late".')
    ''
    """
    plain = normalised_text(straight(text))
    found = _refusal().search(plain)
    return found[0].strip() if found else ""


def without_opening(text: str) -> str:
    """Remove one opening, as "The image shows" or "Here is a caption:".

    >>> without_opening("The image shows a red fox.")
    'a red fox.'
    """
    found = patterns("openings").match(straight(text))
    if not found:
        return text
    spans = [found.span(name) for name, kept in found.groupdict().items() if kept is not None]
    kept = "".join(text[start:end] for start, end in spans)
    return kept + text[found.end() :]


def without_closing(text: str) -> str:
    """Remove a last sentence that is said to the user, as "Let me know if more is needed".

    The only sentence of a text stays.

    >>> without_closing("A red fox. Let me know if you need anything else!")
    'A red fox.'
    """
    tail = max(0, len(text) - _TAIL)
    found = _closing().search(straight(text[tail:]))
    return text[: tail + found.start()].rstrip() if found else text


def capitalised(text: str) -> str:
    """Begin a text with a capital, but for words as `iPhone`.

    >>> capitalised("a fox"), capitalised("iPhone"), capitalised("")
    ('A fox', 'iPhone', '')
    """
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]


@cache
def _refusal() -> "re.Pattern[str]":
    return re.compile(f"{_SENTENCE}(?:{patterns('refusals').pattern})", re.I)


@cache
def _closing() -> "re.Pattern[str]":
    inner = patterns("closings").pattern
    return re.compile(f"(?<=[.!?\u3002] )(?:{inner})$|(?<=\u3002)(?:{inner})$", re.I)


def _alternative(pattern: str, number: int) -> str:
    """Return a pattern as one of several: its group `kept` gets a name of its own."""
    return f"(?:{pattern.replace('(?P<kept>', f'(?P<kept{number}>')})"
