"""Caption engines: what writes the caption that a model is trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from filters.caption import source_caption, why_no_caption
from schemas.caption_config import CaptionConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A caption and what wrote it."""

    caption: str  # '' if the engine found nothing to say
    origin: str
    reason: str = ""  # why there is none
    detail: str = ""


class CaptionEngine(Protocol):
    """Writes a caption for each row of a batch, in order."""

    def __call__(self, rows: Sequence[dict[str, Any]]) -> list[Written]:
        """Caption rows of schema SOURCES."""
        ...


@dataclass(frozen=True, slots=True)
class SourceText:
    """The source's own words, cleaned; a sentence of title and tags where there is no text."""

    config: CaptionConfig

    def __call__(self, rows: Sequence[dict[str, Any]]) -> list[Written]:
        """Choose between a row's text, and its title and tags."""
        return [self._write(row) for row in rows]

    def _write(self, row: dict[str, Any]) -> Written:
        text, title, tags = row["text"], row["title"], row["tags"]
        rules = self.config.boilerplate
        caption, origin = source_caption(
            text,
            title,
            tags,
            max_chars=self.config.max_chars,
            boilerplate=rules,
            title_below_words=self.config.title_below_words,
        )
        if caption:
            return Written(caption=caption, origin=origin)
        reason, detail = why_no_caption(text, title, tags, rules)
        return Written(caption="", origin="", reason=reason, detail=detail)
