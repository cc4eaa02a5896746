"""What a thing is called in a sentence, by its title, which is a stranger's text."""

import re
from dataclasses import dataclass
from typing import Final

from filters.cleaning import clean
from filters.phrase import as_phrase, quoted
from schemas.markers import marker_in

MOST_CHARS: Final = 60
MOST_WORDS: Final = 8

_ARTICLE: Final = re.compile(r"an? ", re.I)
_POINTING: Final = re.compile(r"(?:the|this|that|these|those|his|her|its|my|our|their|your) ", re.I)
_COUNTING: Final = re.compile(
    r"(?:\d{1,3}|another|both|few|many|several|some|two|three|four|five|six|seven|eight|nine|ten) ",
    re.I,
)
# Words in lower case, as emoji and captions have them: no names, no codes, no other script.
_PLAIN: Final = re.compile(r"[a-z][a-z'-]*(?: [a-z][a-z'-]*)*")
_HEAD: Final = re.compile(
    r"(.*?)(?: (?:of|with|without|in|on|at|from|for|and|by|to|over|under) .*)?$"
)
_PLURAL: Final = re.compile(r"(?:[^aious]s|[aeo]es|oos|eyes|people|men|children|feet|teeth|mice)$")
_ONE: Final = re.compile(r"(?:lens|chess|tennis|series|species|news|cactus|octopus)$")
_MASS: Final = re.compile(
    r"(?:bacon|bread|butter|cheese|fire|fog|food|furniture|grass|hair|ice|money|music|popcorn|rain"
    r"|rice|sand|smoke|snow|sushi|water|milk|wood|luggage|broccoli|garlic|honey|salt|spaghetti)$"
)
_VOWEL: Final = re.compile(r"(?:[aeio]|u(?!ni|fo|se|ti|k)|hou?r|honest|heir)(?!u[rc]o|ne\b|we\b)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """A thing at its first mention, and at a later one."""

    first: str  # "a red apple"
    again: str  # "the red apple"


def named(title: str) -> Named | None:
    """Return how a sentence names a thing, or None where its title does not fit into one.

    Plain titles in lower case get an article. Titles with capitals, digits or marks are quoted,
    for they may be names.

    >>> named("red apple")
    Named(first='a red apple', again='the red apple')
    >>> named("two owls"), named("AZ-lizard")
    (Named(first='two owls', again='the two owls'), Named(first='the picture "AZ-lizard"', \
again='the picture "AZ-lizard"'))
    >>> named("a fox <image>") is None
    True

    Args:
        title: a title or a short caption.
    """
    words = _usable(title)
    if not words:
        return None
    phrase = as_phrase(words)
    if re.search(r"[^\w ',().&-]", phrase):
        return Named(first=_label(words), again=_label(words))
    if found := _ARTICLE.match(phrase):
        return Named(first=phrase, again=f"the {phrase[found.end() :]}")
    if _POINTING.match(phrase):
        return Named(first=phrase, again=phrase)
    if _COUNTING.match(phrase):
        return Named(first=phrase, again=f"the {phrase}")
    if not _PLAIN.fullmatch(phrase):
        return Named(first=_label(words), again=_label(words))
    return Named(first=_with_article(phrase), again=f"the {phrase}")


def label(title: str) -> str:
    """Return how a sentence names a picture by its title, or '' where it does not fit into one.

    >>> label("tanzania")
    'the picture "tanzania"'
    """
    words = _usable(title)
    return _label(words) if words else ""


def _usable(title: str) -> str:
    """Return the words of a title, or '' where it does not fit into a sentence."""
    words = " ".join(clean(title).split()) if len(title) <= 4 * MOST_CHARS else ""
    if len(words) > MOST_CHARS or words.count(" ") >= MOST_WORDS or marker_in(title):
        return ""
    return words if re.search(r"[^\W_]", words) else ""


def _label(words: str) -> str:
    return f"the picture {quoted(words)}"


def _with_article(phrase: str) -> str:
    """Put `a` or `an` before a noun phrase, unless its noun is plural or has no plural."""
    head = _HEAD.match(phrase)
    noun = (head[1] if head else phrase).split()[-1]
    if _MASS.search(noun) or (_PLURAL.search(noun) and not _ONE.search(noun)):
        return phrase
    return f"an {phrase}" if _VOWEL.match(phrase) else f"a {phrase}"
