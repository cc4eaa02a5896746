"""Gates of instructions that a model wrote, beside those of captions."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from filters.captions.instructions import LEAD_IN
from filters.captions.named_words import (
    DIRECTIONS,
    GENERAL_MEDIA,
    MEDIA,
    lost_direction,
    named_words,
    opposite_words,
    quotations,
)
from filters.captions.phrases import capitalised
from filters.captions.unwrapping import unwrapped
from filters.content_words import content_words
from filters.text import normalised_text
from filters.words import split_words
from schemas.subsets import EDIT, UNDERSTAND, Subset

REASONS: Final[Mapping[str, str]] = {
    "empty": "no letter and no digit, but for a label as 'User:'",
    "talk": "speaks about the task, or answers: 'Here is', 'the caption'",
    "copy": "the caption, or the edit, word for word",
    "missing": "has fewer of the main words than `keeps`",
    "changed": "a number, colour or medium that was not given; of an edit also a number, colour, "
    "direction or quotation that is lost, and an opposite",
    "no_request": "a statement: begins with an article or a pronoun, and neither asks nor says "
    "'please'; of a question: neither a question mark nor a verb of asking at the beginning",
    "gives_away": "of a question: most main words of the caption that answers it",
    "asks": "of a lead-in: a question",
    "medium": "of a lead-in: another noun for the image than the instruction has",
}
"""What each reason means, in the order in which the gates are asked."""

MAIN_WORDS: Final = 10  # of a caption: what it names first
MOST_GIVEN: Final = 0.6  # share of the main words of an answer that a question may hold

_LABEL: Final = re.compile(
    r"(?:the )?(?:user|assistant|request|instruction|question|answer|output|response|edit|change"
    r"|image|prompt)(?: says| asks)?\s*:\s*",
    re.I,
)
_TALK: Final = re.compile(
    r"\b(?:here(?:'s| is| are)|in other words|the (?:request|instruction|text|sentence)"
    r"|(?:the|this) (?:answer|question|change)|described as"
    r"|paraphras\w*|rephras\w*|rewrit\w*|reword\w*|prompt|user|assistant|caption|description)\b"
    r"|^(?:i have|i've|i will|i'll|let me|okay|ok|sure|certainly|of course|yes|no)\b",
    re.I,
)
_ALLOWED_TALK: Final[Mapping[str, Collection[str]]] = {
    UNDERSTAND.name: ("caption", "description"),
    LEAD_IN: ("here's", "here is", "here are", "i've", "i have", "sure", "certainly", "of course"),
}
_APOSTROPHES: Final = str.maketrans("\u2019\u2018", "''")
# Words that another text replaces by others, and those that `changed` looks at.
_ASKING: Final = frozenset(
    content_words(
        "add apply change create draw edit generate give image insert keep let make need paint "
        "picture place please produce put remove replace set show turn want "
        + " ".join(sorted(MEDIA | GENERAL_MEDIA | DIRECTIONS))
    )
)
_STATES: Final = re.compile(
    r"(?:the|an?|this|that|these|those|there|it|its|he|his|she|her|they|their|in the)\b", re.I
)
_ASKS: Final = re.compile(
    r"(?:please |can you |could you )?(?:describe|tell|explain|say|name|list|summari[sz]e|write"
    r"|identify|count|give|what|who|where|when|why|which|how|is|are|does|do|can|could)\b",
    re.I,
)
# Words of questions about any image.
_OF_IMAGES: Final = frozenset(
    content_words(
        """
        image picture photo scene see shown show describe happening subject main object thing
        depicted visible background caption description detail
        """
    )
)


class Found(NamedTuple):
    """Why a text cannot be used."""

    reason: str  # of REASONS
    detail: str  # what was found


def instruction_fault(text: str, given: str, subset: Subset, keeps: float) -> Found | None:
    """Return the first reason of REASONS why a text is no user's turn; None if it is one.

    The words are compared by rules of English; a text in another language fails `missing`, unless
    what was given is in that language too. Linear time.

    Args:
        text: after the gates of captions.
        given: caption or edit that it was written of.
        subset: of the sample.
        keeps: least share of the main words of `given` that it holds, 0 to 1.
    """
    return next(_instruction_faults(text, given, subset, keeps), None)


def lead_in_fault(text: str, instruction: str) -> Found | None:
    """Return the first reason of REASONS why a text is no answer's words before an image."""
    return next(_lead_in_faults(text, instruction), None)


def without_label(text: str) -> str:
    """Return a text without a label before its words, and without quotation marks around these.

    >>> without_label('The user: "Draw a fox."')
    'Draw a fox.'
    """
    found = _LABEL.match(text)
    return capitalised(unwrapped(text[found.end() :])) if found else text


def main_words(text: str) -> Sequence[str]:
    """Return the first content words of a text, without those of asking, direction and media.

    >>> main_words("Please make an image of a red fox in the snow.")
    ['red', 'fox', 'snow']
    """
    words = content_words(text)
    return [word for word in words if word not in _ASKING][:MAIN_WORDS]


def _instruction_faults(text: str, given: str, subset: Subset, keeps: float) -> Iterator[Found]:
    if not split_words(text):
        yield Found("empty", "")
    if said := _talk(text, given, _ALLOWED_TALK.get(subset.name, ())):
        yield Found("talk", said)
    if _plain(text) == _plain(given):
        yield Found("copy", text)
    if subset == UNDERSTAND:
        yield from _question_faults(text, given)
    else:
        yield from _missing(text, given, keeps)
        if _STATES.match(text) and "?" not in text and "please" not in text.lower():
            yield Found("no_request", text)
    yield from _changes(text, given)
    if subset == EDIT:
        yield from _lost(text, given)


def _lead_in_faults(text: str, instruction: str) -> Iterator[Found]:
    if not split_words(text):
        yield Found("empty", "")
    if said := _talk(text, instruction, _ALLOWED_TALK[LEAD_IN]):
        yield Found("talk", said)
    yield from _changes(text, instruction)
    if "?" in text:
        yield Found("asks", text)
    mine, theirs = (_noun_of_image(each) for each in (text, instruction))
    if mine and theirs and mine != theirs:
        yield Found("medium", f"{mine!r} after {theirs!r}")


def _talk(text: str, given: str, allowed: Collection[str]) -> str:
    """Return words about the task that were not given, or ''."""
    straight = text.translate(_APOSTROPHES)
    known = given.lower().translate(_APOSTROPHES)
    said = (found[0].lower() for found in _TALK.finditer(straight))
    return next((each for each in said if each not in allowed and each not in known), "")


def _missing(text: str, given: str, keeps: float) -> Iterator[Found]:
    main = main_words(given)
    held = {*content_words(text)}
    missing = [word for word in main if word not in held]
    if len(main) - len(missing) < keeps * len(main):
        yield Found("missing", f"{len(missing)} of {len(main)}: {', '.join(missing)}")


def _question_faults(text: str, given: str) -> Iterator[Found]:
    main, held = main_words(given), {*content_words(text)}
    shared = [word for word in main if word in held]
    if not shared and not held & _OF_IMAGES:
        yield Found("missing", "no word of the caption, and none about an image")
    if "?" not in text and not _ASKS.match(text):
        yield Found("no_request", text)
    if len(shared) > 1 and len(shared) > MOST_GIVEN * len(main):
        yield Found("gives_away", ", ".join(shared))


def _changes(text: str, given: str) -> Iterator[Found]:
    known = named_words(given)
    for word, kind in named_words(text).items():
        if word not in known:
            yield Found("changed", f"{kind} {word!r} was not given")


def _lost(text: str, given: str) -> Iterator[Found]:
    held = named_words(text)
    for word, kind in named_words(given).items():
        if word not in held and kind != "medium":
            yield Found("changed", f"{kind} {word!r} is lost")
    if turned := opposite_words(text, given):
        yield Found("changed", turned)
    if lost := lost_direction(text, given):
        yield Found("changed", f"direction {lost!r} is lost")
    for words in quotations(given):
        if words not in text:
            yield Found("changed", f"quotation {words!r} is lost")


def _noun_of_image(text: str) -> str:
    """Return the first noun that names an image, without the ending of its plural, or ''."""
    words = (word.removesuffix("s") for word in split_words(normalised_text(text)))
    return next((word for word in words if word in MEDIA | GENERAL_MEDIA), "")


def _plain(text: str) -> str:
    return " ".join(split_words(normalised_text(text)))
