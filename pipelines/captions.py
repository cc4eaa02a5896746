"""Caption engines: what writes the caption that a model is trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from filters.caption import source_caption


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A caption and what wrote it."""

    caption: str  # '' if the engine found nothing to say
    origin: str


class CaptionEngine(Protocol):
    """Writes a caption for each row of a batch, in order."""

    def __call__(self, rows: Sequence[dict[str, Any]]) -> list[Written]:
        """Caption rows of schema SOURCES."""
        ...


@dataclass(frozen=True, slots=True)
class SourceText:
    """The source's own words, cleaned; a sentence of title and tags where there is no text."""

    max_chars: int

    def __call__(self, rows: Sequence[dict[str, Any]]) -> list[Written]:
        """Choose between a row's text, and its title and tags."""
        return [self._write(row) for row in rows]

    def _write(self, row: dict[str, Any]) -> Written:
        caption, origin = source_caption(
            row["text"], row["title"], row["tags"], max_chars=self.max_chars
        )
        return Written(caption=caption, origin=origin)
