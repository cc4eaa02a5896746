"""Captions inside a sentence: as a phrase, or in quotation marks."""

import re
from typing import Final

import regex

# Articles and other words that begin a noun phrase.
_DETERMINERS = (
    "A|An|The|Another|Both|Each|Every|Few|Many|One|Several|Some|Two|Three|Four|Five|Six|Seven"
    "|Eight|Nine|Ten|His|Her|Its|My|Our|Their|Your"
)
_LEADING = re.compile(rf"(?:{_DETERMINERS}|{_DETERMINERS.upper()})(?= )")
# `A` as a letter, not an article: "A is for apple", "A to Z".
_OF_LETTERS = re.compile(r"A (?:and|as|for|in|is|of|on|or|to|vs|was|with)\b")
# Words in lower case in titles.
_SMALL = re.compile(
    "a|an|and|as|at|but|by|de|del|der|di|du|for|from|in|into|la|le|nor|of|off|on|or|over|the|to|up|van"
    "|via|von|vs|with"
)

# The beginning of a sentence, not of a noun phrase.
_SENTENCE = re.compile(
    r"(?:I|You|He|She|It|We|They|There|Here|Who|What|When|Where|Why|How|Is|Are|Was|Were|Do|Does"
    r"|Did|Don't|Let|Please|I'm|It's|He's|She's|We're|You're|They're|Let's|That's|There's|Here's"
    r"|What's|(?:This|That|These|Those) (?:\w+ ){0,2}(?:has|have|shows?|depicts?|can|will))(?= |$)"
)
# A verb outside a relative clause: "a fox that is red" is a noun phrase.
_STATES = regex.compile(
    r"(?<!\b(?:as|how|if|that|what|when|where|which|while|who|whose \w+))"
    r" (?:is|are|was|were|isn't|aren't|wasn't|weren't) "
)

_LETTERS = r"[^\W\d_]"
_ABBREVIATION = re.compile(
    rf"(?:^|[\s(/\"'-])(?:{_LETTERS}|{_LETTERS}+(?:\.{_LETTERS}+)+|St|Mt|Ft|Dr|Mr|Mrs|Ms|Prof|Jr|Sr"
    r"|Inc|Ltd|Co|Corp|Bros|Ave|Blvd|Rd|Hwy|No|Nos|vs|etc|approx|ca|cf|al|Fig|Vol|vol|Ed|eds|Rev"
    r"|Gen|Col|Sgt|Capt|Cpt|Cmdr|Lt|Maj|Adm|Hon|Gov|Sen|Rep|Pres|Dept|Univ|Jan|Feb|Mar|Apr|Jun|Jul"
    r"|Aug|Sep|Sept|Oct|Nov|Dec|pp|spp?|var|subsp)\.$"
)
_STOPS = ".\u3002\uff0e\uff61\u0964\u06d4\u0589\u1362"  # full stops of several scripts
ENDS: Final = _STOPS + "!?\u2026\uff01\uff1f\u061f"
_INNER_END = regex.compile(
    r"[.!?\u2026\u061f\u0964\u06d4\u0589\u1362](?:\s+(?=\S)|[\"')\]\u201d\u2019]+\s+(?=[^\p{Ll}\s]))"
    r"|[\u3002\uff01\uff1f\uff61]"
)
# A phrase that opens with a bracket, or whose last sentence ends within brackets or quotes.
_ENCLOSED = regex.compile(rf"^[\p{{Ps}}--\{{]|[{re.escape(ENDS)}][\p{{Pe}}\p{{Pf}}\"']+$", regex.V1)
_QUOTES = (('"', '"'), ("\u201c", "\u201d"), ("\u00ab", "\u00bb"))


def as_phrase(caption: str, *, starts: bool = False) -> str:
    """Return a caption in a form that fits into a sentence, with all of its words.

    A leading article or other determiner becomes lower case, and a final full stop is removed. The
    caption is quoted instead if it has several sentences, is a sentence ("There is a fox"), is a
    title or name with all words in capitals ("A Clockwork Orange", "The Beatles"), is in brackets,
    or ends with another mark or an
    abbreviation. The rules are for English; captions in other languages lose at most a
    full stop.

    >>> [as_phrase(text) for text in ("A lion.", "A.J. Smith", "It is red. It runs.")]
    ['a lion', 'A.J. Smith', '"It is red. It runs."']

    Args:
        caption: a cleaned caption.
        starts: whether the phrase starts a sentence and keeps its capital.
    """
    phrase = without_stop(caption)
    if not phrase or phrase[-1] in ENDS or _is_sentence(caption) or is_several(phrase):
        return quoted(caption)
    if _ENCLOSED.search(phrase):
        return quoted(caption)
    if starts or not _LEADING.match(phrase):
        return phrase
    if _OF_LETTERS.match(phrase) or _is_title(phrase):
        return quoted(caption)
    first, _, rest = phrase.partition(" ")
    return f"{first.lower()} {rest}"


def quoted(caption: str) -> str:
    """Put a caption in quotation marks, if possible a pair that it does not contain."""
    if any(caption[0] == a and caption[-1] == b and len(caption) > 1 for a, b in _QUOTES):
        return caption
    free = (pair for pair in _QUOTES if not {*pair} & {*caption})
    opening, closing = next(free, _QUOTES[1])
    return f"{opening}{caption}{closing}"


def without_stop(caption: str) -> str:
    """Remove a full stop at the end, unless it belongs to an abbreviation."""
    phrase = caption.rstrip(" ,;:")
    if phrase[-1:] not in _STOPS or _ABBREVIATION.search(phrase):
        return phrase
    return phrase[:-1].rstrip(" ,;:")


def _is_sentence(caption: str) -> bool:
    """Return whether a caption is a sentence in English, not a noun phrase."""
    return bool(_SENTENCE.match(caption) or _STATES.search(caption))


def is_several(phrase: str) -> bool:
    """Return whether a sentence ends inside, other than after an initial or abbreviation."""
    return any(
        phrase[found.start()] != "." or not _ABBREVIATION.search(phrase[: found.start() + 1])
        for found in _INNER_END.finditer(phrase)
    )


def _is_title(phrase: str) -> bool:
    """Return whether all words after the determiner have capitals, as in a title or name."""
    first, _, rest = phrase.partition(" ")
    words = [word for word in re.findall(r"[^\W\d_][\w'-]*", rest) if not _SMALL.fullmatch(word)]
    is_one_thing = first in ("A", "An") and len(words) == 1  # A Lion, but The Beatles
    if not words:
        return first in ("A", "An")  # A 1
    return not is_one_thing and all(word[0].isupper() for word in words)
