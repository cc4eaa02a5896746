"""The two images of an edit and its words, made of one image."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from PIL import Image

from filters.decode import DecodeError, decode_with_alpha
from filters.edits.edit_type import NotFitting
from filters.edits.registry import EDITS, MadeEdit, make_edit
from filters.text import primary_text
from pipelines.runtime.images import in_time
from pipelines.runtime.sidecar import Reject
from pipelines.sources.edits.bases import Bases
from pipelines.sources.raw_shard import ImageStore
from schemas.keys import draw, rank, sample_key
from schemas.recipe import DecodeConfig
from schemas.source_config import EditsSource

FORWARD, INVERSE = "edit", "inverse"  # ends of the URL of a sample
NOT_FITTING, NO_INVERSE = "edit_not_fitting", "no_inverse"  # reasons of dropped samples
MOST_TRIES: Final = 4  # types of an image
OTHERS: Final = 3  # images that an edit may put in or behind


@dataclass(frozen=True, kw_only=True)
class EditMaker:
    """Makes the edits of one unit of a source."""

    source: EditsSource
    decode: DecodeConfig
    bases: Bases
    titles: Mapping[str, str]  # of the images, by URL

    def store(self, url: str, rows: Sequence[Mapping[str, Any]], raw: ImageStore) -> None:
        """Make the edit of an image, and store it in both directions, as rows ask for them."""
        made = self._made(url, rows[0])
        for row in rows:
            key = row["key"]
            if isinstance(made, Reject):
                raw.reject(key, made.reason, made.detail, dropped=made.dropped)
                continue
            is_inverse = row["url"].endswith(f"#{INVERSE}")
            words = made.inverse if is_inverse else made.instruction
            if not words:
                detail = f"nobody could ask for the way back of {made.edit}"
                raw.reject(key, NO_INVERSE, detail, dropped=True)
                continue
            before, after = made.source, made.image
            if is_inverse:
                before, after = after, before
            facts = {"edit": made.edit, "inverse": is_inverse, "parameters": dict(made.parameters)}
            raw.store(key, _png(after), instruction=words, edit=json.dumps(facts))
            raw.store(f"{key}.source", _png(before))

    def _made(self, url: str, row: Mapping[str, Any]) -> MadeEdit | Reject:
        key = sample_key(self.source.name, url)
        image = self._image(url)
        if isinstance(image, Reject):
            return image
        words = primary_text(row["text"], row["title"])
        others: list[tuple[Image.Image, str]] | None = None  # decoded once, if a type needs any
        whys: list[str] = []
        types = self.source.types or tuple(EDITS)
        order = sorted(types, key=lambda name: rank(key, f"edit {name}"))
        for name in order[:MOST_TRIES]:
            if others is None and name in self._with_others:
                others = list(self._others(key, url))
            given = others if others and name in self._with_others else ()
            try:
                return make_edit(name, image, key, others=given, source_words=words)
            except NotFitting as error:
                whys.append(f"{name}: {error}")
        return Reject(id=key, reason=NOT_FITTING, detail="; ".join(whys), dropped=True)

    @cached_property
    def _with_others(self) -> frozenset[str]:
        return frozenset(name for name, kind in EDITS.items() if {*kind.needs} - {"alpha"})

    @cached_property
    def _titled(self) -> list[str]:
        """The URLs of the images that have a title, sorted."""
        return [url for url in self.bases.urls if self.titles.get(url)]

    def _others(self, key: str, url: str) -> Iterator[tuple[Image.Image, str]]:
        """Yield other images of the unit with their titles, drawn by the key."""
        urls = [each for each in self._titled if each != url]
        for number in range(min(OTHERS, len(urls))):
            other = urls.pop(draw(key, f"other image {number}", len(urls)))
            image = self._image(other)
            if not isinstance(image, Reject):
                yield image, self.titles[other]

    def _image(self, url: str) -> Image.Image | Reject:
        body = self.bases.body(url)
        if isinstance(body, Reject):
            return body
        try:
            image = in_time(body, self.decode, decode_with_alpha)
        except DecodeError as error:
            return Reject(id=url, reason=error.reason, detail=error.detail)
        image.thumbnail((self.source.side, self.source.side), Image.Resampling.LANCZOS)
        return image


def _png(image: Image.Image) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, "PNG", compress_level=3)
    return encoded.getvalue()
