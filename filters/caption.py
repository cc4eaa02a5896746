"""The source's own words as a caption: cleaned text, or a sentence of title and tags."""

import html
import re
from collections.abc import Iterable

from filters.text_boilerplate import EMAIL, EPS, FILENAME, HASH, URL

MAX_CHARS = 512  # of a caption
MAX_TAGS = 3  # that a sentence of title and tags names
MIN_TEXT_WORDS = 3  # fewer say less than title and tags do
MAX_TAG_CHARS = 30  # longer ones are whole tag lists or sentences

_READ_CHARS = 10_000  # of the listed text; bounds the work on hostile input

_MARKUP = re.compile(r"<[!/?]?[a-z-][^<>]*>", re.I)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Soft hyphens, direction marks, byte order marks and lone surrogates, which UTF-8 cannot hold.
# The two joiners (200c, 200d) stay: Persian and emoji are written with them.
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")

# What the removal of an address leaves of "(mail: me@example.org)".
_HOLLOW = re.compile(r"\((?:e-?mail|mail|web|url|see|from)?:? ?\)", re.I)

# Midjourney's parameters, https://docs.midjourney.com/docs/parameter-list
_VALUED = (
    "ar|aspect|c|chaos|cref|cw|exp|iw|oref|ow|p|personalize|profile|q|quality|r|repeat|s|sameseed"
    "|seed|sref|stop|style|stylize|sv|sw|v|version|w|weird"
)
_BARE = "creative|draft|fast|hd|niji(?: \\d)?|relax|test|testp|tile|turbo|uplight|upbeta|video"
_PARAMETER = re.compile(
    rf"(?<!\S)(?:--(?:no(?: (?!--)\S+)*|(?:{_BARE})|(?:{_VALUED})(?: (?!--)\S+|\d\S*)?)"
    rf"|[\u2013\u2014](?:{_VALUED}) \d\S*)(?=\s|$)",  # phones turn two hyphens into a dash
    re.I,
)
_WEIGHT = re.compile(r"::(?:-?\d*\.?\d+)?(?=[\s,.]|$)")

_CREDIT = re.compile(
    r"^(?:made|created|drawn|done) (?:with|in|using) (?:the )?(?:inkscape|sodipodi|\w+ ?draw)\b"
    r"|\bcreative commons\b|\bpublic domain\b|\ball rights reserved\b|^part of .*\bcollection\b"
    r"|^(?:null|none|untitled|no description)$",
    re.I,
)
_JUNK_TAG = re.compile(
    r"hash|unsorted|unchecked|unknown|untagged|misc|miscellany|various|other|special|images?"
    r"|pictures?|clip ?art|open ?clip ?art|svg|png|inkscape|vector",
    re.I,
)
_POINTER = re.compile(r"0x[0-9a-f]+", re.I)


def source_caption(
    text: str, title: str, tags: Iterable[str], *, max_chars: int = MAX_CHARS
) -> tuple[str, str]:
    """Return a caption made of the source's own words, and its origin.

    The origin is `text` (cleaned, at least three words, no boilerplate), `title_and_tags`
    (a sentence), `title`, or '' together with an empty caption where neither text nor title
    says anything. Tags alone make no caption.

    >>> source_caption("", "yellow_duck", ["animal", "hash(0x8a3ecd4)", "ducks", "bird", "toy"])
    ('Yellow duck, with animal, bird and toy', 'title_and_tags')
    """
    caption = clean(text, max_chars)
    if len(caption.split()) >= MIN_TEXT_WORDS and not _is_boilerplate(text):
        return caption, "text"
    words = clean(title.replace("_", " "), max_chars).rstrip(" .,;:-")
    subject = clean(words[:1].upper() + words[1:], max_chars)
    if not subject or _is_boilerplate(title):
        return "", ""
    names = _usable_tags(tags, subject)
    if not names:
        return subject, "title"
    return clean(f"{subject}, with {_listed(names)}", max_chars), "title_and_tags"


def clean(text: str, max_chars: int = MAX_CHARS) -> str:
    """Return the words of a text: cleaning it again changes nothing.

    Removed are HTML tags and entities, control and invisible characters, URLs, e-mail addresses
    and Midjourney's parameters (`--ar 16:9`) and weights (`::2`). White space is collapsed, and
    what is longer than `max_chars` is cut at a space.

    >>> clean("https://s.mj.run/x a <b>red</b> fox::2 &amp; a hen --ar 16:9 --no text, frame --v 5")
    'a red fox & a hen'
    """
    before, after = "", text[:_READ_CHARS]
    while after != before:  # one removal can uncover the next: &amp;lt;b&amp;gt;
        before, after = after, _clean_once(after, max_chars)
    return after


def _clean_once(text: str, max_chars: int) -> str:
    """Remove one layer; no step makes a text longer, so repeating it comes to an end."""
    plain = _INVISIBLE.sub("", _CONTROL.sub(" ", html.unescape(text)))
    for noise in (_MARKUP, URL, EMAIL):
        plain = noise.sub(" ", plain)
    spaced = " ".join(plain.split())
    for noise in (_PARAMETER, _WEIGHT, _HOLLOW):
        spaced = noise.sub(" ", spaced)
    return _cut(" ".join(spaced.split()), max_chars)


def _cut(text: str, max_chars: int) -> str:
    """Cut at the last space that fits, or within a word that alone is too long."""
    if len(text) <= max_chars:
        return text
    head, _, _ = text[: max_chars + 1].rpartition(" ")
    return (head or text[:max_chars]).rstrip(" ,;:-")


def _is_boilerplate(text: str) -> bool:
    return any(pattern.search(text.strip()) for pattern in (HASH, EPS, FILENAME, _CREDIT))


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
    if _JUNK_TAG.fullmatch(name) or HASH.search(tag) or _POINTER.search(tag):
        return False
    return 2 <= len(name) <= MAX_TAG_CHARS and any(letter.isalpha() for letter in name)


def _stem(word: str) -> str:
    """Let `Ducks` and `duck` be one word; anything finer needs a language."""
    return word.casefold().rstrip("s")


def _listed(names: list[str]) -> str:
    """Join names as English does: `a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
