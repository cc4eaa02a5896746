"""Signals of boilerplate in the text of a row."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from filters.signal import Column, Record, Values
from filters.text import primary_text

# Thai, Chinese, Japanese and Korean text, with punctuation, may follow a URL without a space.
_UNSPACED = r"\u0e00-\u0eff\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef"
_IN_URL = rf"[^\s<>\"(){_UNSPACED}]"
URL = re.compile(
    rf"(?<![A-Za-z0-9])(?:https?://|ftp://|www\.(?=\w))(?:{_IN_URL}|\({_IN_URL}*\))+", re.I
)
# `ca@valencia` names a language, `logo@2x.png` and `ca@valencia.po` files.
EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9\u00c0-\u024f._%+-]{1,64}@(?!\dx\.)"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}"
    r"(?!(?:gif|html?|jpe?g|json|png|po|svg|txt|webp|xml|ya?ml)(?![A-Za-z0-9]))"
    r"[A-Za-z]{2,24}(?![A-Za-z0-9-])"
)
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
    """Flags kinds of boilerplate anywhere in the primary text or the title.

    Both are searched because captions use both. A domain without `http://` or `www.` is no URL
    here: `OpenOffice.org` is also a product's name.
    """

    least_side: ClassVar[int] = 0

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of this signal."""
        return COLUMNS

    def measure(self, records: Sequence[Record]) -> Values:
        """Return one sequence per column, as long as `records` and in the same order."""
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
