"""The signals of text length."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from filters.signal import Column, Record, Values
from filters.text import primary_text
from filters.words import count_words


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLength:
    """Length of the primary text as listed: characters, and words of any script."""

    least_side: ClassVar[int] = 0

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of this signal."""
        return COLUMNS

    def measure(self, records: Sequence[Record]) -> Values:
        """Return one sequence per column, as long as `records` and in the same order."""
        texts = [primary_text(record.text, record.title) for record in records]
        return {
            "text_chars": [len(text) for text in texts],
            "text_words": [count_words(text) for text in texts],
        }


COLUMNS = (
    Column(
        name="text_chars",
        type=pa.int32(),
        meaning="length of the text, or the title where there is none, characters",
        high=500.0,
    ),
    Column(
        name="text_words",
        type=pa.int32(),
        meaning="length of the text, or the title where there is none, words as UAX 29 has them",
        high=80.0,
    ),
)
