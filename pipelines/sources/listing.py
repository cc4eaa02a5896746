"""What every kind of source gives: units of work, listed rows, and their bytes."""

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Protocol, cast

import pyarrow as pa

from pipelines.runtime.sidecar import Reject
from pipelines.sources.columns import as_text, look_up, mapped
from pipelines.sources.raw_shard import RawShard
from schemas.recipe import Columns, TextOf
from schemas.store.storage import Storage

# What looks like an image by its name, whether it can be decoded or not: a row, never passed over.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".pjpeg", ".pjp", ".mpo"),
    *(".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".avif", ".avifs"),
    *(".heic", ".heics", ".heif", ".heifs", ".hif", ".jxl", ".jxr", ".wdp", ".hdp"),
    *(".jp2", ".j2k", ".jpf", ".jpx", ".jpm", ".j2c", ".jpc", ".jph", ".jls"),
    *(".ico", ".cur", ".icns", ".psd", ".psb", ".xcf", ".tga", ".pcx", ".dds", ".sgi", ".qoi"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".pfm", ".exr", ".hdr", ".bpg", ".flif"),
    *(".raw", ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf"),
    *(".rw2", ".raf", ".pef", ".srw", ".x3f", ".3fr", ".erf", ".kdc", ".dcr", ".mrw", ".iiq"),
)
TEXT_SUFFIXES = (".txt", ".json")
MAX_TEXT_BYTES = 1_000_000  # of a text file beside an image
# Rows of a list whose bytes, syntax or types are broken.
MALFORMED = "malformed_row"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A part of a source that becomes one shard."""

    source: str  # name in the recipe
    path: str  # file it lies in
    name: str = ""  # of that file in the source; stands in the ids of its rows
    version: str  # what tells versions of that file apart
    start: int  # where it begins: a byte of a text list, else a row
    end: int  # where it ends, exclusive
    first_row: int = 0  # number of its first row in the file
    rows: int | None = None  # in it; None where only reading it tells
    part: int = 0  # file of a dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePlan:
    """A source cut into units, and what of it is no row."""

    units: Sequence[Unit]
    passed_over: Mapping[str, int] = field(default_factory=dict)  # what it is -> how many
    files: Sequence[str] = ()  # written into the corpus to be read by units


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOver:
    """Something in a unit that is neither a row nor an image: counted, and named at the end."""

    what: str  # ".svg file", "link to a folder"
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A row as listed, before its bytes are known."""

    id: str  # file and row number, for rejects
    url: str  # URL, or path inside the source; may hold what UTF-8 cannot until it is checked
    place: str = ""  # where the source's reader finds the bytes again; '' for a URL
    text: str = ""
    title: str = ""
    tags: tuple[str, ...] = ()
    licence: str = ""
    author: str = ""


class Reader(Protocol):
    """Reads one kind of source. Units are read independently of each other, in any order."""

    def version(self) -> str:
        """Return what changes with the source's files; cheap beside `plan`."""
        ...

    def plan(self, rows_per_shard: int, store: Storage) -> SourcePlan:
        """Cut the source into units; the same input gives the same units."""
        ...

    def rows(self, unit: Unit) -> Iterator[Listed | Reject | PassedOver]:
        """List a unit's rows in its file's order, and say what it passes over."""
        ...

    def acquire(self, unit: Unit, rows: pa.Table, raw: RawShard) -> None:
        """Store, reference or reject the bytes of each listed row (schema SOURCES)."""
        ...


def listed_from(
    id_: str, row: Mapping[Any, Any], columns: Columns, *, place: str = ""
) -> Listed | Reject:
    """Map a row of any list to ours; absent and null values read as ''."""
    try:
        found = {field: look_up(row, path) for field, path in mapped(columns).items()}
        return Listed(
            id=id_,
            url=_url(found.get("url"), columns),
            place=place,
            text=as_text(found.get("text"), columns, "text"),
            title=as_text(found.get("title"), columns, "title"),
            tags=_tags(found.get("tags"), columns),
            licence=as_text(found.get("licence"), columns, "licence"),
            author=as_text(found.get("author"), columns, "author"),
        )
    except ValueError as error:
        return Reject(id=id_, reason=MALFORMED, detail=storable(str(error)))


def with_texts(
    row: Listed, texts: Iterable[tuple[str, bytes]], columns: Columns, *, text: TextOf = "whole"
) -> Listed | Reject:
    """Add what the .txt and .json files beside an image say; a .txt wins, and so does row.url.

    Args:
        row: of which only id, url and place are kept.
        texts: (file name, contents up to one byte over MAX_TEXT_BYTES).
        columns: keys of the .json.
        text: which part of a .txt is the text.
    """
    prompt, data = "", {}
    for name, body in texts:
        try:
            if len(body) > MAX_TEXT_BYTES:
                raise ValueError(f"over {MAX_TEXT_BYTES:,} bytes")
            if name.lower().endswith(".txt"):
                prompt = as_text(_part(body.decode("utf-8-sig"), text))
            else:
                data = json_object(body.decode("utf-8-sig"))
        except ValueError as error:
            return Reject(id=row.id, reason="malformed_text", detail=storable(f"{name}: {error}"))
    if not data:
        return replace(row, text=prompt)
    columns = json_columns(data, columns)
    if prompt:
        columns = columns.model_copy(update={"text": ""})
    read = listed_from(row.id, data, columns, place=row.place)
    if isinstance(read, Reject):
        return replace(read, reason="malformed_text")
    return replace(read, url=row.url or read.url, text=prompt or read.text)


def json_columns(row: Mapping[str, Any], columns: Columns) -> Columns:
    """Return the keys of the .json beside an image: `text` and `caption` are one and the same.

    Where the recipe names neither, the other is read of a .json without the default.
    """
    if "text" in columns.explicit():
        return columns
    other = "caption" if columns.text == "text" else "text"
    hashable = cast(Hashable, columns)  # which a frozen model is
    return _with_text(hashable, other) if columns.text not in row and other in row else columns


@lru_cache(maxsize=16)
def _with_text(columns: Any, key: str) -> Columns:
    return columns.model_copy(update={"text": key})


def _part(body: str, text: TextOf) -> str:
    """Return the text of a .txt: all of it, or its first line that holds more than blanks."""
    return body if text == "whole" else next(filter(str.strip, body.splitlines()), "")


def json_object(text: str) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        ValueError: if it is none; the message shows how it begins.
    """
    try:
        data = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"nested too deeply: {text!r:.200}") from error
    except ValueError as error:
        raise ValueError(f"not JSON ({error}): {text!r:.200}") from error
    if not isinstance(data, dict):
        raise ValueError(f"expected a JSON object: {text!r:.200}")
    return data


def storable(text: str) -> str:
    r"""Spell out what UTF-8 cannot hold, such as the odd bytes of a file name.

    >>> storable("caf\udce9.jpg")
    'caf\\udce9.jpg'
    """
    return text.encode("utf-8", "backslashreplace").decode()


def is_storable(text: str) -> bool:
    """Whether UTF-8 can hold a text, which lone surrogates prevent."""
    return storable(text) == text


def _url(value: Any, columns: Columns) -> str:
    """Read a URL or path, which may hold the odd bytes of a file's name."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape").strip()
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list | tuple) and value:
        raise ValueError(
            f"column {columns.url!r} is a list of {len(value)}, expected one URL or path; "
            f"name one: columns: {{url: '{columns.url}[0]'}}"
        )
    return as_text(value, columns, "url")


def _tags(value: Any, columns: Columns) -> tuple[str, ...]:
    items = value if isinstance(value, list | tuple) else as_text(value, columns, "tags").split(",")
    return tuple(tag for item in items if (tag := as_text(item, columns, "tags")))
