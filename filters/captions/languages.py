"""Whether a caption is in one of the languages that a recipe allows."""

from collections.abc import Callable, Collection, Mapping
from functools import cache, partial
from typing import Final

import regex

from filters.words import split_words

LanguageOf = Callable[[str], tuple[str, float]]
"""Returns the ISO 639 code of a text and its probability; '' for a text that is too short."""

MIN_LETTERS: Final = 20  # of a text whose language is detected
FOREIGN: Final = 0.2  # most share of words in a script of no allowed language
SURE: Final = 0.9  # least probability of a language that is not allowed

_SCRIPTS: Final[Mapping[str, tuple[str, ...]]] = {
    "Arab": ("ar", "ary", "arz", "fa", "ps", "sdh", "ug", "ur", "uzs"),
    "Armn": ("hy",),
    "Beng": ("as", "bn"),
    "Cyrl": ("ba", "be", "bg", "kk", "ky", "mk", "mn", "ru", "sr", "tg", "tt", "uk"),
    "Deva": ("gom", "hi", "mr", "ne", "sa"),
    "Ethi": ("am",),
    "Geor": ("ka",),
    "Grek": ("el", "grc"),
    "Gujr": ("gu",),
    "Guru": ("pa",),
    "Hang": ("ko",),
    "Hani": ("ja", "ko", "wuu", "yue", "zh"),
    "Hebr": ("hbo", "he"),
    "Hira": ("ja",),
    "Kana": ("ja",),
    "Khmr": ("km",),
    "Knda": ("kn",),
    "Laoo": ("lo",),
    "Mlym": ("ml",),
    "Mymr": ("my",),
    "Orya": ("or",),
    "Sinh": ("si",),
    "Taml": ("ta",),
    "Telu": ("te",),
    "Thai": ("th",),
    "Tibt": ("dz",),
}
"""Languages of each script, as of ISO 15924; all other languages are written in Latin script."""
_QUOTED = regex.compile(
    '"[^"]{1,200}"|\u201c[^\u201c\u201d]{1,200}\u201d|\u300c[^\u300c\u300d]{1,200}\u300d'
)


def foreign_words(text: str, languages: Collection[str]) -> float:
    r"""Return the share of words in a script that no allowed language uses, 0 to 1.

    Words in quotation marks are what an image says, and do not count.

    >>> round(foreign_words("A fox \u7ad9\u5728\u96ea\u5730\u91cc", ["en"]), 2)
    0.71
    """
    words = split_words(_QUOTED.sub(" ", text))
    letters = [word for word in words if _letter().search(word)]
    foreign = _foreign(frozenset(languages))
    return sum(foreign.search(word) is not None for word in letters) / max(1, len(letters))


def wrong_language(text: str, languages: Collection[str], language_of: LanguageOf | None) -> str:
    """Return why a text is in none of the languages, or ''.

    The scripts are compared first: that also works for texts too short for a detector, and for
    texts with words of two languages. Languages of one script need the detector.
    """
    if not languages:
        return ""
    if (share := foreign_words(text, languages)) > FOREIGN:
        return f"{share:.0%} of the words are in another script"
    code, probability = language_of(text) if language_of else ("", 0.0)
    if code and code not in languages and probability >= SURE:
        return f"{code}, {probability:.2f}"
    return ""


def detector() -> LanguageOf:
    """Return a detector of languages; it needs the extra `scores`."""
    from filters.scores.language import language_of

    return partial(language_of, min_chars=MIN_LETTERS)


@cache
def _letter() -> "regex.Pattern[str]":
    return regex.compile(r"\p{L}")


@cache
def _foreign(languages: frozenset[str]) -> "regex.Pattern[str]":
    """Return a pattern of the letters that none of some languages uses."""
    used = [script for script, of in _SCRIPTS.items() if languages & {*of}]
    # Latin words are in texts of all languages, as brands; the detector knows whole Latin texts.
    classes = "".join(rf"\p{{Script={script}}}" for script in ("Latn", "Zyyy", "Zinh", *used))
    return regex.compile(rf"[^\P{{L}}{classes}]")
