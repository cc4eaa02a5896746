"""The rows that the report shows: found by key, read, and shrunk to thumbnails."""

import base64
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from filters.decode import DecodeError
from filters.face_blur import NO_BLUR, FaceBlur
from filters.text import primary_text
from pipelines.dedup.rows import OF_DUPLICATES
from pipelines.report.page.records import Summary
from pipelines.runtime.active_images import active_images
from pipelines.runtime.face_boxes import face_blur
from pipelines.runtime.images import FETCHED, decode_image, read_checked, stored_images
from pipelines.runtime.sidecar import read_table, sidecar_path
from schemas.recipe import BlurConfig, DecodeConfig
from schemas.store.storage import CorpusError, Storage

SIDE = 160  # px, longer side of a thumbnail
QUALITIES = (70, 40, 10)  # of WebP, tried in order until a thumbnail is small
THUMBNAIL_BYTES = 10_000  # at most, so that all thumbnails stay below 3 MB
TEXT_CHARS = 300
MESSAGE_CHARS = 600


class Request(NamedTuple):
    """Rows to find in one shard."""

    shard: int
    keys: frozenset[str]
    kept_keys: frozenset[str]  # wanted only where dedup kept the row


class Wanted(NamedTuple):
    """Rows to find in the whole corpus."""

    keys: Mapping[int, frozenset[str]]  # by shard
    kept_keys: frozenset[str]  # representatives, in any shard of this corpus

    def of(self, shard: int) -> Request:
        """Return the rows to find in one shard."""
        return Request(shard, self.keys.get(shard, frozenset()), self.kept_keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """The values of one row; fields of stages that the row did not reach are empty."""

    key: str
    shard: int
    source: str
    url: str
    licence: str
    text: str  # the caption, or the listed text where there is none
    stands: bool  # dedup compared the row, and it is no duplicate of another
    raw: Mapping[str, str | int] | None  # the row in `raw/`
    values: Mapping[str, float]  # signals that are numbers or flags
    messages: tuple[tuple[str, str], ...]  # role, content
    template: str
    caption_origin: str
    caption_style: str
    blur: FaceBlur = NO_BLUR  # of its faces, as far as it was scored
    matched: str = ""  # the prompt or image of a benchmark that it has
    further: Mapping[str, Mapping[str, str | int]] = field(default_factory=dict)  # images by role
    edit_type: str = ""  # of an edit, as listed
    scores: tuple[float, ...] = ()  # as listed, of the chosen and the rejected image

    def of_image(self, role: str) -> "Example":
        """Return the same row with a further image as its main one; faces are not known in it."""
        return replace(self, raw=self.further.get(role), blur=NO_BLUR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """A small picture, or the reason why there is none."""

    uri: str  # data URI, '' if there is none
    width: int = SIDE  # px
    height: int = SIDE  # px
    missing: str = ""  # reason why there is none


def wanted(summary: Summary) -> Wanted:
    """Return the rows that a summary's examples name."""
    keys: dict[int, set[str]] = {}
    kept_keys: set[str] = set()
    for choices in summary.examples.values():
        for choice in choices:
            keys.setdefault(choice.shard, set()).add(choice.key)
            if choice.kept_key and not choice.kept_in:
                kept_keys.add(choice.kept_key)
    for rejected in summary.rejects.values():
        for letter in rejected.examples:
            keys.setdefault(letter.shard, set()).add(letter.id)
    by_shard = {shard: frozenset(of_shard) for shard, of_shard in keys.items()}
    return Wanted(by_shard, frozenset(kept_keys))


def find_examples(
    request: Request, store: Storage, blur: BlurConfig | None = None
) -> list[Example]:
    """Read the wanted rows of one shard; if it has none, only its keys are read.

    Raises:
        CorpusError: a side-car is missing or damaged.
    """
    shard, keys, kept_keys = request
    both = pa.array(sorted(keys | kept_keys), pa.string())
    listed = read_table(store, sidecar_path("sources", shard), ["key"])["key"]
    present = listed.filter(pc.is_in(listed, both)).combine_chunks()
    if not len(present):
        return []
    tables = {
        folder: _rows_of(store, folder, shard, present)
        for folder in ("sources", "raw", "signals", "scores", "duplicates", "captions", "pairs")
    }
    examples = [_example(key, shard, tables, blur) for key in map(str, present.to_pylist())]
    return [example for example in examples if example.key in keys or example.stands]


def make_thumbnail(example: Example, store: Storage, settings: DecodeConfig) -> Thumbnail:
    """Read one image and shrink it; on failure return a thumbnail with the reason."""
    if example.raw is None:
        return Thumbnail(uri="", missing="never fetched")
    try:
        [body] = read_checked([dict(example.raw)], store, FETCHED)
        with active_images(example.key):
            image = example.blur(decode_image(body, settings))
            image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
            data = base64.b64encode(_webp(image)).decode()
    except (CorpusError, DecodeError) as error:
        return Thumbnail(uri="", missing=str(error)[:TEXT_CHARS])
    return Thumbnail(uri=f"data:image/webp;base64,{data}", width=image.width, height=image.height)


def _webp(image: Image.Image) -> bytes:
    data = b""
    for quality in QUALITIES:
        encoded = io.BytesIO()
        image.save(encoded, "WEBP", quality=quality, method=4)
        data = encoded.getvalue()
        if len(data) <= THUMBNAIL_BYTES:
            break
    return data


def _rows_of(
    store: Storage, folder: str, shard: int, keys: pa.Array
) -> dict[str, Mapping[str, Any]]:
    table = read_table(store, sidecar_path(folder, shard))
    return {row["key"]: row for row in table.filter(pc.is_in(table["key"], keys)).to_pylist()}


def _example(
    key: str,
    shard: int,
    tables: Mapping[str, Mapping[str, Mapping[str, Any]]],
    blur: BlurConfig | None,
) -> Example:
    source = tables["sources"][key]
    raw = tables["raw"].get(key)
    verdict = tables["duplicates"].get(key, {})
    caption = tables["captions"].get(key, {})
    pair = tables["pairs"].get(key, {})
    stored = {**tables["signals"].get(key, {}), **tables["scores"].get(key, {})}
    values = {**stored, "text_repeats": verdict.get("text_repeats", 0)}
    return Example(
        key=key,
        shard=shard,
        source=source["source"],
        url=source["url"][:TEXT_CHARS],
        licence=source["licence"][:TEXT_CHARS],
        text=(caption.get("caption") or primary_text(source["text"], source["title"]))[:TEXT_CHARS],
        stands=bool(verdict) and verdict["reason"] not in OF_DUPLICATES,
        raw=raw,
        values={name: value for name, value in values.items() if isinstance(value, int | float)},
        messages=_clipped(pair.get("messages", ())),
        template=pair.get("template", ""),
        caption_origin=caption.get("caption_origin", ""),
        caption_style=caption.get("caption_style", ""),
        blur=face_blur(stored.get(f"{blur.scorer}_boxes") or (), blur) if blur else NO_BLUR,
        matched=verdict.get("matched", "")[:TEXT_CHARS],
        further={image["role"]: image for image in (stored_images(raw)[1:] if raw else ())},
        edit_type=source["edit_type"][:TEXT_CHARS],
        scores=tuple(source["scores"]),
    )


def _clipped(messages: Collection[Mapping[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((m["role"], m["content"][:MESSAGE_CHARS]) for m in list(messages)[:4])


class Found:
    """The found examples, by shard and key."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._by_place = {(example.shard, example.key): example for example in examples}
        self._representatives = {example.key: example for example in examples if example.stands}

    def at(self, shard: int, key: str) -> Example | None:
        """Return a row by shard and key; None if the id is not a key."""
        return self._by_place.get((shard, key))

    def representative(self, key: str) -> Example | None:
        """Return the row that dedup kept under this key."""
        return self._representatives.get(key)
