"""A caption from the source's words: the cleaned text, or a sentence of title and tags."""

import re
from collections.abc import Iterable, Sequence

from filters.caption_boilerplate import BOILERPLATE, boilerplate_in
from filters.cleaning import MAX_CHARS, clean
from filters.text_boilerplate import HASH
from filters.words import count_words
from schemas.markers import marker_in

MAX_TAGS = 3  # in a sentence of title and tags
MAX_TAG_CHARS = 30  # longer tags are tag lists or sentences

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
    """Return a caption from the source's words, and its origin.

    The origin is `text`, `title_and_tags` (a sentence) or `title`. Caption and origin are '' if
    neither text nor title is usable; `why_no_caption` returns the reason. The text comes first,
    even if it is short. Tags alone give no caption.

    Args:
        text: as listed.
        title: as listed.
        tags: as listed.
        max_chars: of the caption.
        boilerplate: names of the BOILERPLATE rules to apply to text and title.
        title_below_words: a text with fewer words is replaced by a usable title.

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
    """Return the reason why a row has no caption, and the values of the row.

    The reason is `boilerplate_RULE`, `empty_after_cleaning`, or, without text and title,
    `no_caption`.
    """
    values = f"text {text!r:.200}, title {title!r:.200}"
    for name, value in (("text", text), ("title", title)):
        rule, words = boilerplate_in(clean(value), boilerplate)
        if rule:
            return f"boilerplate_{rule}", f"{values}; {name} holds {words!r:.80}"
    if text.strip() or title.strip():
        return "empty_after_cleaning", values
    return "no_caption", f"{values}, tags {', '.join(tags)!r:.200}"


def _usable(text: str, max_chars: int, boilerplate: Sequence[str]) -> str:
    """Return a cleaned text, '' if it is boilerplate."""
    words = clean(text, max_chars)
    return "" if boilerplate_in(words, boilerplate)[0] else words


def _subject(title: str, max_chars: int, boilerplate: Sequence[str]) -> str:
    """Return a title as the start of a sentence; underscores become spaces."""
    if not _usable(title, max_chars, boilerplate):
        return ""
    words = clean(title.replace("_", " "), max_chars)
    words = words.rstrip(" .,;:-") or words
    return clean(words[:1].upper() + words[1:], max_chars)


def _usable_tags(tags: Iterable[str], title: str) -> list[str]:
    """Return the first `MAX_TAGS` tags that add a word to the title and to the tags before."""
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
    """Return whether a tag names something, and is not a listing's own label."""
    if _JUNK_TAG.fullmatch(name) or HASH.search(tag) or _POINTER.search(tag) or marker_in(tag):
        return False
    long_enough = len(name) >= 2 or not name.isascii()  # a Chinese name can be one character
    return long_enough and len(name) <= MAX_TAG_CHARS and any(map(str.isalpha, name))


def _stem(word: str) -> str:
    """Return a form that is equal for `Ducks` and `duck`; finer rules would need the language."""
    return word.casefold().rstrip("s")


def _listed(names: list[str]) -> str:
    """Join names in English: `a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
