"""The texts of an image for training: which of a list's words say what it shows."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from filters.text_boilerplate import PATTERNS
from schemas.keys import draw, rank

TITLE_REPEATS: Final = 15  # images of one list that may share a title; more name a collection
TEXT_WORDS: Final = 3  # of a description that is used
TAGS_DRAWN: Final = 4  # at most, in a caption
TEMPLATES: Final = (
    *("a picture of {}", "an image of {}", "a drawing of {}", "a sketch of {}"),
    *("clip art of {}", "an icon of {}", "an emoji of {}", "a cartoon of {}"),
)
_NO_TAGS: Final = frozenset({"hash", "unsorted", "misc"})
_SKIN_TONE: Final = re.compile(r"[:,]\s*(?:medium-)?(?:light|medium|dark) skin tone")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """An image and the words of its row.

    `subject` is the title without a skin tone, or the tags of an image without a title. An epoch
    has one image of each subject.
    """

    name: str  # unique; decides all random numbers
    title: str  # "" if it names a collection, an author or nothing
    text: str
    tags: tuple[str, ...]

    @property
    def subject(self) -> str:
        """The words that images of one thing share, in lower case."""
        return plain(without_skin_tone(self.title)) or plain(" ".join(self.tags))

    @property
    def head(self) -> str:
        """The last word of the subject, in the singular as far as a rule can tell.

        >>> Pair(name="a", title="Red Apples 02", text="", tags=()).head
        'apple'
        """
        if not self.title:
            return self.subject
        words = self.subject.split()
        named = [word for word in words if not word.isdigit()] or words
        return singular(named[-1])


def pairs_of(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Pair]:
    """Return the pairs of one list of images, without the rows that say nothing.

    Args:
        rows: with title, text, tags and author.
        names: of the images, unique over all lists.
    """
    repeats = Counter(row["title"].lower() for row in rows)
    pairs = [
        Pair(
            name=name,
            title="" if repeats[row["title"].lower()] > TITLE_REPEATS else title_of(row),
            text=text_of(row),
            tags=tags_of(row),
        )
        for row, name in zip(rows, names, strict=True)
    ]
    return [pair for pair in pairs if pair.subject]


def title_of(row: Mapping[str, Any]) -> str:
    """Return the title, or "" if it is boilerplate or names the author."""
    title, author = row["title"].replace("_", " ").strip(), row["author"].strip().lower()
    if is_boilerplate(title) or (author and author in title.lower()):
        return ""
    return title


def text_of(row: Mapping[str, Any]) -> str:
    """Return the description, or "" if it is boilerplate or too short to be one."""
    text = row["text"].strip()
    return "" if is_boilerplate(text) or len(text.split()) < TEXT_WORDS else text


def tags_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the tags that say something, each once."""
    author = row["author"].strip().lower()
    tags = (tag.replace("_", " ").strip().lower() for tag in row["tags"])
    kept = (t for t in tags if t and t not in _NO_TAGS and t != author and not is_boilerplate(t))
    return tuple(dict.fromkeys(kept))


def is_boilerplate(text: str) -> bool:
    """Whether a text has a URL, an e-mail address or another mark of boilerplate."""
    return any(pattern.search(text) for pattern in PATTERNS.values())


def without_skin_tone(title: str) -> str:
    """Return a title without its skin tones.

    >>> without_skin_tone("kiss: man, man, light skin tone, medium-dark skin tone")
    'kiss: man, man'
    """
    return _SKIN_TONE.sub("", title)


def plain(text: str) -> str:
    """Return words in lower case, without punctuation.

    >>> plain("Flag: Côte d'Ivoire_2")
    'flag côte d ivoire 2'
    """
    return " ".join(re.findall(r"[^\W_]+", text.lower()))


def singular(word: str) -> str:
    """Return a word without a plural's s.

    >>> singular("apples"), singular("glass"), singular("bus")
    ('apple', 'glass', 'bus')
    """
    return word[:-1] if len(word) > 3 and word.endswith("s") and word[-2] != "s" else word


def caption(pair: Pair, epoch: int) -> str:
    """Draw a caption of a pair: title, tags, description or a mix of them, often in a template."""
    kind = draw(pair.name, f"caption {epoch}", 10)
    if not pair.title or (kind >= 8 and pair.tags):
        said = some_tags(pair, epoch)
    elif kind >= 6 and pair.tags:
        said = f"{pair.title}, {some_tags(pair, epoch)}"
    elif kind == 5 and pair.text:
        said = pair.text
    else:
        said = pair.title
    template = draw(pair.name, f"template {epoch}", 2 * len(TEMPLATES))
    return TEMPLATES[template].format(said) if template < len(TEMPLATES) else said


def some_tags(pair: Pair, epoch: int) -> str:
    """Draw some tags of a pair, in any order."""
    ordered = sorted(pair.tags, key=lambda tag: rank(f"{pair.name}\n{tag}", f"tags {epoch}"))
    return ", ".join(ordered[: 1 + draw(pair.name, f"tags {epoch}", TAGS_DRAWN)])
