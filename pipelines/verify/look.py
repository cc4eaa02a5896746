"""What the checks of a corpus share: where it lies, what should be in it, what is known of a shard.

A check is a generator of faults. It is run by `pipelines.verify.faults.guarded`, so damage that it
did not foresee ends it alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipelines.runtime.sidecar import (
    Origin,
    column,
    is_as_written,
    kept_rows,
    read_origin,
    sidecar_path,
)
from pipelines.runtime.stage import SidecarStage
from pipelines.verify.faults import Fault
from schemas.recipe import Recipe, Source
from schemas.store.errors import CorpusError
from schemas.store.regular_store import RegularStorage
from schemas.store.storage import Storage

MAX_ROWS = 1 << 62  # of a stage


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder under examination, whichever command made it."""

    store: RegularStorage
    stages: Mapping[str, SidecarStage]  # by folder, in order
    # Of the stages that are no map stages, by folder; none where footers are missing.
    fingerprints: Mapping[str, str]
    tokens: tuple[Mapping[str, Any], ...]  # what a manifest says of each member
    broken: frozenset[str]  # files that are missing, or no files: named once, never opened


@dataclass(frozen=True, kw_only=True)
class Look(Folder):
    """A corpus under examination, as its recipe and the footers of its side-cars describe it."""

    recipe: Recipe
    sources: tuple[str, ...]  # of each shard, by the plan
    outputs: int  # output shards
    exchange: str  # local folder for what checks tell each other
    deep: bool  # decode, measure and encode again
    same_pillow: bool  # as the corpus was made with: pixels are encoded to the same bytes

    def source(self, shard: int) -> Source:
        """Return the source of a shard."""
        return next(s for s in self.recipe.sources if s.name == self.sources[shard])


@dataclass(frozen=True, kw_only=True)
class SidecarLook:
    """One shard's side-cars, those that could be read."""

    corpus: Folder
    shard: int
    tables: dict[str, pa.Table] = field(default_factory=dict)  # of the right schema
    origins: dict[str, Origin] = field(default_factory=dict)
    letters: dict[str, pa.Table] = field(default_factory=dict)  # by folder

    def path(self, folder: str) -> str:
        """Return the path of a side-car."""
        return sidecar_path(folder, self.shard)

    def fault(self, folder: str, what: str) -> Fault:
        """Return a fault of a side-car."""
        return Fault(self.path(folder), what)

    def column(self, folder: str, name: str) -> list[Any]:
        """Return the values of a column."""
        return column(self.tables[folder], name)

    def kept(self, folder: str) -> list[str]:
        """Return the keys of the rows that a stage kept, in order, each once."""
        return list(dict.fromkeys(column(kept_rows(self.tables[folder]), "key")))

    def rows(self, folder: str) -> dict[str, dict[str, Any]]:
        """Map the key of each row to it."""
        return {row["key"]: row for row in self.tables[folder].to_pylist()}


@dataclass(frozen=True, kw_only=True)
class ShardLook(SidecarLook):
    """One shard's side-cars of a corpus."""

    corpus: Look


def schema_faults(table: pa.Table, schema: pa.Schema) -> list[str]:
    """Say in what a table is not of a schema; no column holds a null."""
    if table.column_names != schema.names:
        return [f"columns are {table.column_names}, expected {schema.names}"]
    faults = [
        f"column {field.name} is of {table[field.name].type}, expected {field.type}"
        for field in schema
        if not table[field.name].type.equals(field.type)
    ]
    return faults + [
        f"column {name} holds {table[name].null_count:,} nulls"
        for name in schema.names
        if table[name].null_count
    ]


def checked_origin(store: Storage, path: str) -> Origin:
    """Read a footer whose values are of their types.

    Raises:
        CorpusError: if there is none, or they are not.
    """
    origin = read_origin(store, path)
    if origin is None:
        raise CorpusError("missing")
    counts = origin.counts
    rows = [counts.rows_in, counts.kept]
    for outcomes in (counts.dropped, counts.failed):
        rows += [*outcomes.values()] if isinstance(outcomes, dict) else [None]
    texts = [origin.stage, origin.fingerprint, origin.content, origin.keys, *origin.files]
    rows += [*origin.passed_over.values()] if isinstance(origin.passed_over, dict) else [None]
    sound = all(map(is_count, rows))
    if not (sound and all(isinstance(t, str) for t in texts) and isinstance(origin.tar, dict)):
        raise CorpusError(f"its footer does not hold what a footer does: {origin}")
    return origin


def is_count(value: Any) -> bool:
    """Whether a value of any type counts something."""
    return type(value) is int and 0 <= value < MAX_ROWS


def as_written(store: Storage, path: str, schema: pa.Schema) -> Iterator[Fault]:
    """Say whether a file holds more than its rows."""
    if not is_as_written(store.read(path), schema):
        yield Fault(path, "holds more than its rows, or is written otherwise")
