"""Shapes of a list's URLs, which distinguish rows from lines of text inside a cell."""

import re
from collections import Counter
from collections.abc import Collection, Iterable

from pipelines.sources.listing import IMAGE_SUFFIXES

# A shape counts if at least one in LEAST_PART of the examined URLs has it.
LEAST_PART = 10

_SHAPES = {
    "url": re.compile(r"\w+://\S+"),
    "number": re.compile(r"\d+"),
    "decimal": re.compile(r"[\d.,]+"),
    "path": re.compile(r"(?=.*\w)\S*/\S*"),
    "file": re.compile(r"\S+\.[A-Za-z0-9]{2,5}"),
    "id": re.compile(r"(?=\D*\d)[\w-]{3,}"),
}
USUAL = frozenset({"url", "image", "path", "file"})


def shape_of(cell: str) -> str:
    """Return the shape of a cell; '' for words.

    >>> [shape_of(cell) for cell in ("http://a.org/?id=1", "a b.JPG", "/p?id=1", "005", "2.50")]
    ['url', 'image', 'path', 'number', 'decimal']
    >>> shape_of("a dog"), shape_of("dog"), shape_of("dog1")
    ('', '', 'id')
    """
    if cell.lower().endswith(IMAGE_SUFFIXES) and "://" not in cell:
        return "image" if cell == cell.strip() else ""
    return next((name for name, shape in _SHAPES.items() if shape.fullmatch(cell)), "")


def shapes_of(cells: Iterable[str]) -> Collection[str]:
    """Return the shapes of a list's URLs, without rare ones."""
    counts = Counter(map(shape_of, cells))
    total = counts.total()
    return {shape for shape, count in counts.items() if shape and LEAST_PART * count >= total}
