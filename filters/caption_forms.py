"""Which captions fit inside an English sentence, and which on one line in quotation marks."""

import re
from collections.abc import Iterator
from typing import Final

from filters.phrase import ENDS, as_phrase, is_several, without_stop
from filters.words import count_words

LONGEST: Final = 25  # words of a caption in a sentence or in quotation marks

_QUOTES = re.compile('["\u201c-\u201f\u00ab\u00bb\u2039\u203a]')
_PLAIN = re.compile(r"[A-Za-z0-9 ,'&-]+")
_WORD_OR_COMMA = re.compile(r"[^ ,]+|,")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DEFINITE = _words("the his her its my our their your")
_SINGULAR = _words("a an another each every one")
_PLURAL = _words("both few many several some two three four five six seven eight nine ten")
_DETERMINERS = _DEFINITE | _SINGULAR | _PLURAL

# Words that end a noun phrase, after which another may follow.
_LINKS = _words(
    """
    , & about above across after against along alongside amid among and around at before behind
    below beneath beside besides between beyond by down during for from in inside into like near of
    off on onto or out outside over past through to toward towards under underneath up upon with
    within without built carved covered decorated drawn dressed filled lit made painted seen
    surrounded taken topped wearing wrapped
    """
)
# Words that show a clause, or another language.
_CLAUSES = _words(
    """
    am are as be been because can could did do does had has have he how i if is it may might must
    not she should that there they this these those was we were what when where which while who whom
    whose why will would you
    au con da das de del der des die do du el en et ein eine im la las le
    les los mit na no und un una
    """
)
_NOUNS_IN_ING = _words(
    """
    being building ceiling clothing evening king lightning morning painting railing ring spring
    string thing wedding wing
    """
)
_PLURALS_WITHOUT_S = _words(
    "cattle children deer feet fish geese men mice people sheep teeth women"
)
# Verbs of captions; also "runs", "jumped".
_VERBS = _words(
    """
    appear ate bark bear become began bite blew blow bloom break bring burn came carry catch caught
    chase climb come cook cover crawl cross cry cut dance dig dive draw drank drink drive drove eat
    enjoy enter explore face fall feed fell fight fill flew float fly fought gallop gather gave get
    give glow go grab grew grow hang held hide hit hold hop hug hung hunt hurry jump keep kept kick
    kiss lay lead lean leap leave left lick lie look loom lounge make march meet met move open paint
    perch play point pose pour pull push race raise ran reach read ride rise roam rode rose run rush
    sail sang sat saw say see sell shine shone show sing sit slept sleep slide smile sniff soar sold
    speak spin spread stand stare stood stretch strike study swam swim swing take talk taught teach
    tell think throw took touch travel try turn use wag wait wake walk watch wave wear went wore
    work write wrote
    """
)


def is_noun_phrase(caption: str) -> bool:
    """Return whether a caption is surely an English noun phrase that fits inside a sentence.

    It begins with a determiner, has no verb outside of a participle, at most 25 words, and nothing
    but letters, digits, spaces, commas, hyphens and apostrophes, beside a final full stop. The test
    is strict: many noun phrases fail it, and few sentences pass.

    >>> texts = ("A red fox in the snow.", "Two dogs run.", "fox, snow", "Red foxes", "Ein Fuchs")
    >>> [is_noun_phrase(text) for text in texts]
    [True, False, False, False, False]
    """
    phrase = without_stop(caption)
    if not _PLAIN.fullmatch(phrase) or count_words(phrase) > LONGEST:
        return False
    if as_phrase(caption, starts=True) != phrase or as_phrase(caption).startswith('"'):
        return False
    words = _WORD_OR_COMMA.findall(phrase.lower())
    begins = len(words) > 1 and words[0] in _DETERMINERS and words[1] not in _LINKS
    return begins and not _CLAUSES & {*words} and all(map(_is_plain, _parts(words)))


def is_one_line(caption: str) -> bool:
    """Return whether a caption fits into quotation marks inside a sentence.

    It has at most 25 words, no quotation mark, and no end of a sentence but a final full stop.

    >>> [is_one_line(text) for text in ("Two dogs run.", "fox, snow", 'A sign "Open"', "Who?")]
    [True, True, False, False]
    """
    line = without_stop(caption)
    if not line or line[-1] in ENDS or _QUOTES.search(line) or not line.isprintable():
        return False
    return not is_several(line) and count_words(line) <= LONGEST


def _parts(words: list[str]) -> Iterator[list[str]]:
    """Split a phrase at prepositions, participles, commas and conjunctions."""
    part: list[str] = []
    for word in words:
        is_participle = word.endswith("ing") and len(word) > 4 and word not in _NOUNS_IN_ING
        if word in _LINKS or is_participle:
            yield part
            part = []
        else:
            part.append(word)
    yield part


def _is_plain(part: list[str]) -> bool:
    """Return whether words without a preposition are a noun phrase, and not a clause."""
    determiner = part[0] if part and part[0] in _DETERMINERS else ""
    words = part[1:] if determiner else part
    if len(words) < 2:
        return True
    last, before = words[-1], words[-2]
    has_s = _ends_in_s(last)
    if _DETERMINERS & {*words} or any(_is_verb(word) for word in words[1:]):
        return False
    if determiner in _PLURAL:
        return has_s or last in _PLURALS_WITHOUT_S
    if has_s:  # "the dog sleeps", "cubs sits"
        return not determiner and not _ends_in_s(before)
    return not last.endswith("ed")


def _is_verb(word: str) -> bool:
    bases = {word, word.removesuffix("s"), word.removesuffix("es"), word.removesuffix("ed")}
    bases |= {word.removesuffix("d"), word.removesuffix("ies") + "y"}
    return bool(bases & _VERBS)


def _ends_in_s(word: str) -> bool:
    return word.endswith("s") and not word.endswith(("ss", "us", "is", "'s"))
