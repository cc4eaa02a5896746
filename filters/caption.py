"""The source's own words as a caption: cleaned text, or a sentence of title and tags."""

import re
from collections.abc import Iterable, Sequence

from filters.caption_boilerplate import BOILERPLATE, boilerplate_in
from filters.cleaning import MAX_CHARS, clean
from filters.text_boilerplate import HASH
from filters.words import count_words
from schemas.markers import marker_in

MAX_TAGS = 3  # that a sentence of title and tags names
MAX_TAG_CHARS = 30  # longer ones are whole tag lists or sentences

_JUNK_TAG = re.compile(
    r"hash|unsorted|unchecked|unknown|untagged|misc|miscellany|various|other|special|images?"
    r"|pictures?|clip ?art|open ?clip ?art|svg|png|inkscape|vector",
    re.I,
)
_POINTER = re.compile(r"0x[0-9a-f]+", re.I)


def source_caption(
    text: str,
    title: str,
    tags: Iterable[str],
    *,
    max_chars: int = MAX_CHARS,
    boilerplate: Sequence[str] = tuple(BOILERPLATE),
    title_below_words: int = 0,
) -> tuple[str, str]:
    """Return a caption made of the source's own words, and its origin.

    The origin is `text`, `title_and_tags` (a sentence), `title`, or '' together with an empty
    caption where neither text nor title says anything; `why_no_caption` then tells why. The text
    goes first, however short. Tags alone make no caption.

    Args:
        text: as listed.
        title: as listed.
        tags: as listed.
        max_chars: of the caption.
        boilerplate: rules of BOILERPLATE that neither text nor title may break.
        title_below_words: a text of fewer words yields to a title, where that says something.

    >>> source_caption("", "yellow_duck", ["animal", "hash(0x8a3ecd4)", "ducks", "bird", "toy"])
    ('Yellow duck, with animal, bird and toy', 'title_and_tags')
    """
    caption = _usable(text, max_chars, boilerplate)
    if caption and count_words(caption) >= title_below_words:
        return caption, "text"
    subject = _subject(title, max_chars, boilerplate)
    if not subject:
        return (caption, "text") if caption else ("", "")
    names = _usable_tags(tags, subject)
    if not names:
        return subject, "title"
    return clean(f"{subject}, with {_listed(names)}", max_chars), "title_and_tags"


def why_no_caption(
    text: str, title: str, tags: Sequence[str], boilerplate: Sequence[str]
) -> tuple[str, str]:
    """Return the reason why a row has no caption, and what it has instead.

    The reason is `boilerplate_RULE`, `empty_after_cleaning`, or `no_caption` of a row that lists
    neither text nor title.
    """
    said = f"text {text!r:.200}, title {title!r:.200}"
    for name, value in (("text", text), ("title", title)):
        rule, words = boilerplate_in(clean(value), boilerplate)
        if rule:
            return f"boilerplate_{rule}", f"{said}; {name} holds {words!r:.80}"
    if text.strip() or title.strip():
        return "empty_after_cleaning", said
    return "no_caption", f"{said}, tags {', '.join(tags)!r:.200}"


def _usable(text: str, max_chars: int, boilerplate: Sequence[str]) -> str:
    """Return a cleaned text, '' if it is boilerplate."""
    words = clean(text, max_chars)
    return "" if boilerplate_in(words, boilerplate)[0] else words


def _subject(title: str, max_chars: int, boilerplate: Sequence[str]) -> str:
    """Return a title as the start of a sentence; a file's name has underscores for spaces."""
    if not _usable(title, max_chars, boilerplate):
        return ""
    words = clean(title.replace("_", " "), max_chars)
    words = words.rstrip(" .,;:-") or words
    return clean(words[:1].upper() + words[1:], max_chars)


def _usable_tags(tags: Iterable[str], title: str) -> list[str]:
    """Return the first `MAX_TAGS` tags that add a word to the title and to one another."""
    seen = {_stem(word) for word in re.findall(r"\w+", title)}
    usable: list[str] = []
    for tag in tags:
        name = clean(tag.replace("_", " "))
        stems = {_stem(word) for word in re.findall(r"\w+", name)}
        if _is_name(tag, name) and not stems <= seen and len(usable) < MAX_TAGS:
            usable.append(name)
            seen |= stems
    return usable


def _is_name(tag: str, name: str) -> bool:
    """Tell if a tag names something, rather than being a listing's own bookkeeping."""
    if _JUNK_TAG.fullmatch(name) or HASH.search(tag) or _POINTER.search(tag) or marker_in(tag):
        return False
    long_enough = len(name) >= 2 or not name.isascii()  # a Chinese name can be one character
    return long_enough and len(name) <= MAX_TAG_CHARS and any(map(str.isalpha, name))


def _stem(word: str) -> str:
    """Let `Ducks` and `duck` be one word; anything finer needs a language."""
    return word.casefold().rstrip("s")


def _listed(names: list[str]) -> str:
    """Join names as English does: `a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
