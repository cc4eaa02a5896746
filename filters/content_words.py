"""The words of an English text that say what it is about, compared without their endings."""

from typing import Final

from filters.text import normalised_text
from filters.words import split_words


def word_set(text: str) -> frozenset[str]:
    """Return what stands between the white space of a text."""
    return frozenset(text.split())


# Words that name nothing; those of images and of asking for one are the callers'.
_FUNCTION: Final = word_set(
    """
    a about above across after again against all along also although always am amid among an and
    another any are around as at away back be because been before behind being below beneath beside
    between both but by can could did do does doing done down during each either else ever every
    few for from further get gets give given had has have having he her here hers him his how i if
    in inside into is it its itself just like made make makes many may me might mine more most much
    must my near no nor not now of off on once one only onto or other our out outside over own past
    per please rather same shall she should so some such than that the their them then there these
    they this those through to too toward towards under until up upon us very was we were what when
    where which while who whom whose why will with within without would you your
    """
)
_SHORTEST: Final = 3  # letters of a word without its ending


def content_words(text: str) -> list[str]:
    """Return the words of a text that name something, without endings, each once, in order.

    Endings are cut by a few rules of English: "foxes" is "fox", "riding" and "rides" are "rid". So
    words are to be compared, not to be read. Linear time.

    >>> content_words("Two red foxes are running in the snow, and a fox runs.")
    ['two', 'red', 'fox', 'run', 'snow']
    """
    words = split_words(normalised_text(text))
    return list(dict.fromkeys(_bare(word) for word in words if word not in _FUNCTION))


def _bare(word: str) -> str:
    """Return a word without the endings of plural, participle and past."""
    word = _singular(word.removesuffix("'s").removesuffix("\u2019s"))
    for ending in ("ing", "ed"):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= _SHORTEST:
            is_doubled = len(stem) > _SHORTEST and stem[-1] == stem[-2] and stem[-1] not in "ls"
            word = stem[:-1] if is_doubled else stem
            break
    return word[:-1] if word.endswith("e") and len(word) > _SHORTEST else word


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes", "zes")):
        return word[:-2]
    if word.endswith("s") and len(word) > _SHORTEST and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
