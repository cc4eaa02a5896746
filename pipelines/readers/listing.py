"""What every kind of source gives: units of work, listed rows, and their bytes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from pipelines.raw_shard import RawShard
from pipelines.sidecar import Reject
from pipelines.storage import Storage
from schemas.recipe import Columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A part of a source that becomes one shard."""

    source: str  # name in the recipe
    path: str  # file it lies in
    version: str  # what tells versions of that file apart
    start: int  # where it begins: a byte of a text list, else a row
    end: int  # where it ends, exclusive
    first_row: int = 0  # number of its first row in the file
    part: int = 0  # file of a dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A row as listed, before its bytes are known."""

    id: str  # file and row number, for rejects
    url: str  # URL, or path inside the source
    place: str = ""  # where the source's reader finds the bytes again; '' for a URL
    text: str = ""
    title: str = ""
    tags: tuple[str, ...] = ()
    licence: str = ""
    author: str = ""


class Reader(Protocol):
    """Reads one kind of source. Units are read independently of each other, in any order."""

    def plan(self, rows_per_shard: int, store: Storage) -> list[Unit]:
        """Cut the source into units; the same input gives the same units."""
        ...

    def rows(self, unit: Unit) -> Iterator[Listed | Reject]:
        """List a unit's rows in its file's order."""
        ...

    def acquire(self, unit: Unit, rows: pa.Table, raw: RawShard) -> None:
        """Store, reference or reject the bytes of each listed row (schema SOURCES)."""
        ...


def listed_from(id_: str, row: Mapping[str, Any], columns: Columns, *, place: str = "") -> Listed:
    """Map a row of any list to ours; absent and null values read as ''."""
    return Listed(
        id=id_,
        url=as_text(row.get(columns.url)),
        place=place,
        text=as_text(row.get(columns.text)),
        title=as_text(row.get(columns.title)),
        tags=_tags(row.get(columns.tags)),
        licence=as_text(row.get(columns.licence)),
        author=as_text(row.get(columns.author)),
    )


def as_text(value: Any) -> str:
    """Read a scalar of a list as text; null is ''; what UTF-8 cannot hold is replaced."""
    if value is None:
        return ""
    return str(value).strip().encode("utf-8", "replace").decode()


def _tags(value: Any) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        return ()
    return tuple(tag for tag in map(as_text, items) if tag)
