"""The rows that the report shows: found again by key, then read and shrunk, a bounded number."""

import base64
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from filters.decode import DecodeError
from filters.text import primary_text
from pipelines.report.page.records import Summary
from pipelines.runtime.active_images import active_images
from pipelines.runtime.images import decode_image, read_images
from pipelines.runtime.sidecar import read_table, sidecar_path
from schemas.recipe import DecodeConfig
from schemas.store.storage import CorpusError, Storage

SIDE = 160  # px, of a thumbnail's longer side
QUALITIES = (70, 40, 10)  # the first that keeps a thumbnail small
THUMBNAIL_BYTES = 10_000  # most, so that all of them stay below 3 MB
TEXT_CHARS = 300
MESSAGE_CHARS = 600


class Request(NamedTuple):
    """Rows to find in one shard: some by key, some by key if dedup kept them here."""

    shard: int
    keys: frozenset[str]
    kept_keys: frozenset[str]


class Wanted(NamedTuple):
    """Rows to find: some by shard and key, some by key alone, wherever they were kept."""

    keys: Mapping[int, frozenset[str]]
    kept_keys: frozenset[str]

    def of(self, shard: int) -> Request:
        """Return what is wanted of one shard."""
        return Request(shard, self.keys.get(shard, frozenset()), self.kept_keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """What is known of one row; what no stage got to is empty."""

    key: str
    shard: int
    source: str
    url: str
    licence: str
    text: str  # the caption, or the text as listed where there is none
    stands: bool  # dedup kept it
    raw: Mapping[str, str | int] | None  # its row in `raw/`
    values: Mapping[str, float]  # its signals that are numbers or flags
    messages: tuple[tuple[str, str], ...]  # role, content
    template: str
    caption_origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """A small picture, or why there is none."""

    uri: str  # data URI, '' if there is none
    width: int = SIDE  # px
    height: int = SIDE  # px
    missing: str = ""


def wanted(summary: Summary) -> Wanted:
    """Return the rows that a summary's examples are made of."""
    keys: dict[int, set[str]] = {}
    kept_keys: set[str] = set()
    for choices in summary.examples.values():
        for choice in choices:
            keys.setdefault(choice.shard, set()).add(choice.key)
            kept_keys.update(filter(None, [choice.kept_key]))
    for rejected in summary.rejects.values():
        for letter in rejected.examples:
            keys.setdefault(letter.shard, set()).add(letter.id)
    return Wanted({s: frozenset(some) for s, some in keys.items()}, frozenset(kept_keys))


def find_examples(request: Request, store: Storage) -> list[Example]:
    """Read the wanted rows of one shard; where there are none, only its keys are read.

    Raises:
        CorpusError: if a side-car is missing or damaged.
    """
    shard, here, kept_keys = request
    both = pa.array(sorted(here | kept_keys), pa.string())
    listed = read_table(store, sidecar_path("sources", shard), ["key"])["key"]
    present = listed.filter(pc.is_in(listed, both)).combine_chunks()
    if not len(present):
        return []
    tables = {
        folder: _rows_of(store, folder, shard, present)
        for folder in ("sources", "raw", "signals", "duplicates", "captions", "pairs")
    }
    examples = [_example(key, shard, tables) for key in map(str, present.to_pylist())]
    return [example for example in examples if example.key in here or example.stands]


def make_thumbnail(example: Example, store: Storage, settings: DecodeConfig) -> Thumbnail:
    """Read one image and shrink it.

    A picture that cannot be shown is not an error of the report: it says so in its place.
    """
    if example.raw is None:
        return Thumbnail(uri="", missing="never fetched")
    try:
        [[(_, body)]] = read_images([dict(example.raw)], store, batch_rows=1)
        with active_images(example.key):
            image = decode_image(body, settings)
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
    key: str, shard: int, tables: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> Example:
    source = tables["sources"][key]
    twin = tables["duplicates"].get(key, {})
    caption = tables["captions"].get(key, {})
    pair = tables["pairs"].get(key, {})
    values = {**tables["signals"].get(key, {}), "text_repeats": twin.get("text_repeats", 0)}
    return Example(
        key=key,
        shard=shard,
        source=source["source"],
        url=source["url"][:TEXT_CHARS],
        licence=source["licence"][:TEXT_CHARS],
        text=(caption.get("caption") or primary_text(source["text"], source["title"]))[:TEXT_CHARS],
        stands=bool(twin) and not twin["reason"],
        raw=tables["raw"].get(key),
        values={name: value for name, value in values.items() if not isinstance(value, str)},
        messages=_clipped(pair.get("messages", ())),
        template=pair.get("template", ""),
        caption_origin=caption.get("caption_origin", ""),
    )


def _clipped(messages: Collection[Mapping[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((m["role"], m["content"][:MESSAGE_CHARS]) for m in list(messages)[:4])


class Found:
    """Examples by where they were drawn from."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._by_place = {(example.shard, example.key): example for example in examples}
        self._representatives = {example.key: example for example in examples if example.stands}

    def at(self, shard: int, key: str) -> Example | None:
        """Return the row of a shard; None if its id is no key."""
        return self._by_place.get((shard, key))

    def representative(self, key: str) -> Example | None:
        """Return the row that dedup kept under this key."""
        return self._representatives.get(key)
