"""Which known kinds of junk stand in the text of a row."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from filters.signal import Column, Record, Values
from filters.text import primary_text

URL = re.compile(r"\b(?:https?://|ftp://|www\.)[^\s<>\"]+", re.I)
EMAIL = re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
HASH = re.compile(r"\b(?:hash|array|scalar|code)\(0x[0-9a-f]+\)", re.I)  # a Perl reference
EPS = re.compile(r"\bEPS converted from\b", re.I)
FILENAME = re.compile(
    r"\b(?:IMG|DSC|DSCN|DSCF|PICT|PXL|MVI|VID|GOPR|SAM)[_-]?\d{4,}"  # named by a camera
    r"|[\w)-]\.(?:jpe?g|png|gif|svgz?|webp|bmp|tiff?|eps|psd)\b",
    re.I,
)

PATTERNS = {
    "text_url": URL,
    "text_email": EMAIL,
    "text_hash": HASH,
    "text_eps": EPS,
    "text_filename": FILENAME,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextBoilerplate:
    """Flags kinds of junk found anywhere in the primary text or the title.

    Both are searched because captions are made of both. A domain without `http://` or `www.`
    is no URL here: `OpenOffice.org` is also a product's name.
    """

    @property
    def columns(self) -> tuple[Column, ...]:
        """The values it measures."""
        return COLUMNS

    def measure(self, records: Sequence[Record]) -> Values:
        """Return one sequence a column, as long as `records` and in their order."""
        texts = [f"{primary_text(row.text, row.title)}\n{row.title}" for row in records]
        return {
            name: [pattern.search(text) is not None for text in texts]
            for name, pattern in PATTERNS.items()
        }


def _flag(name: str, meaning: str) -> Column:
    return Column(name=name, type=pa.bool_(), meaning=meaning)


COLUMNS = (
    _flag("text_url", "text or title holds a URL"),
    _flag("text_email", "text or title holds an e-mail address"),
    _flag("text_hash", "text or title holds a printed Perl reference, hash(0x...)"),
    _flag("text_eps", "text or title says 'EPS converted from'"),
    _flag("text_filename", "text or title holds the name of an image file or a camera's number"),
)
