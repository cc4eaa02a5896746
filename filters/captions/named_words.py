"""Words of a text that another text must not change: numbers, colours, directions, media."""

import re
from collections.abc import Iterator
from typing import Final

from filters.content_words import word_set
from filters.text import normalised_text
from filters.words import split_words

_NUMBERS: Final = {
    **{"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7"},
    **{"eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12"},
}
_COLOURS: Final = word_set(
    """
    beige black blue brown cyan gold golden gray green magenta maroon navy orange pink purple red
    silver teal turquoise violet white yellow
    """
)
MEDIA: Final = word_set(
    """
    cartoon clipart collage comic drawing engraving icon illustration logo mosaic painting photo
    photograph poster render rendering sculpture sketch sticker watercolor
    """
)
"""Nouns that say what an image is made with."""

GENERAL_MEDIA: Final = word_set("image picture")
"""Nouns that are true of any image."""

_OTHER_SPELLINGS: Final = {"grey": "gray", "watercolour": "watercolor"}

# Words of opposite edits, a line for each pair.
_OPPOSITES: Final = tuple(
    tuple(word_set(side) for side in line.split("/"))
    for line in (
        "add insert / remove delete erase",
        "left leftward leftwards / right rightward rightwards",
        "up upward upwards top higher raise above / down downward downwards bottom lower below",
        "brighter brighten lighter lighten brightness / darker darken dim dimmer",
        "warmer warm / cooler cool colder cold",
        "bigger larger enlarge grow / smaller shrink",
        "clockwise / counterclockwise anticlockwise counter",
        "sharper sharpen sharp / blur blurred blurrier blurry soften softer",
        "more increase stronger boost raise / less decrease reduce weaker lower",
        "horizontal horizontally / vertical vertically",
        "front / behind",
        "day / night",
    )
)
DIRECTIONS: Final = frozenset(word for pair in _OPPOSITES for side in pair for word in side)
"""Words of `_OPPOSITES`, all sides."""

_QUOTED: Final = re.compile('"([^"]{1,200})"|\u201c([^\u201c\u201d]{1,200})\u201d')


def named_words(text: str) -> dict[str, str]:
    """Return the numbers, colours and media that a text names, each with its kind.

    >>> named_words("Two grey foxes, a photo of 12 birds")
    {'2': 'number', 'gray': 'colour', 'photo': 'medium', '12': 'number'}
    """
    found: dict[str, str] = {}
    for word in _words(text):
        if (number := _NUMBERS.get(word, word))[0].isdigit():
            found[number] = "number"
        elif word in _COLOURS:
            found[word] = "colour"
        elif word.removesuffix("s") in MEDIA:
            found[word.removesuffix("s")] = "medium"
    return found


def opposite_words(said: str, given: str) -> str:
    """Return two words of opposite directions, the first said, the second given; '' for none.

    A word counts if its side of the pair is in one text alone.

    >>> opposite_words("Move the fox to the left", "Shift the fox rightwards")
    "'left' for 'rightwards'"
    """
    mine, theirs = [*_words(said)], [*_words(given)]
    for pair in _OPPOSITES:
        for one, other in (pair, pair[::-1]):
            is_turned = one & {*mine} and not one & {*theirs} and other & {*theirs}
            if is_turned and not other & {*mine}:
                first = next(word for word in mine if word in one)
                second = next(word for word in theirs if word in other)
                return f"{first!r} for {second!r}"
    return ""


def lost_direction(said: str, given: str) -> str:
    """Return a word of a direction that a text has lost, with its whole side of a pair, or ''.

    >>> lost_direction("Rotate the photo", "Turn the photo clockwise")
    'clockwise'
    """
    mine, theirs = {*_words(said)}, [*_words(given)]
    for pair in _OPPOSITES[1:]:  # adding has more names than are listed
        for side in pair:
            if (found := [word for word in theirs if word in side]) and not side & mine:
                return found[0]
    return ""


def quotations(text: str) -> list[str]:
    """Return what stands in double quotation marks.

    >>> quotations('Write "SALE" on it')
    ['SALE']
    """
    return [one or other for one, other in _QUOTED.findall(text)]


def _words(text: str) -> Iterator[str]:
    for word in split_words(normalised_text(text.replace("-", " "))):
        yield _OTHER_SPELLINGS.get(word, word)
