"""The inputs that checks share: the folder, its expected contents, the tables of a shard.

A check is a generator of faults. `pipelines.verify.faults.guarded` runs it, so an error in one
check becomes a fault and the other checks go on.
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
from pipelines.stages.shard import SubsetOutputs
from pipelines.verify.faults import Fault
from schemas.recipe import Recipe
from schemas.source_config import Source
from schemas.store.errors import CorpusError
from schemas.store.regular_store import RegularStorage
from schemas.store.storage import Storage
from schemas.subsets import SUBSETS, Subset

MAX_ROWS = 1 << 62  # of a stage: a larger count is damage


@dataclass(frozen=True, kw_only=True)
class Folder:
    """The folder to check: a corpus or a folder of pairs."""

    store: RegularStorage
    stages: Mapping[str, SidecarStage]  # by folder, in order
    # Fingerprints of stages that are not map stages, by folder; empty if footers are missing.
    fingerprints: Mapping[str, str]
    tokens: tuple[Mapping[str, Any], ...]  # the line that a manifest should have for each member
    broken: frozenset[str]  # paths where no regular file lies: reported already, never opened


@dataclass(frozen=True, kw_only=True)
class Look(Folder):
    """The corpus to check, as its recipe and the footers of its side-cars describe it."""

    recipe: Recipe
    sources: tuple[str, ...]  # name of the source of each shard, by the plan
    outputs: tuple[SubsetOutputs, ...]  # output shards of each subset
    exchange: str  # local folder for files that one check writes and another reads
    deep: bool  # also decode, measure and encode the images again
    same_pillow: bool  # the release that made the corpus: pixels encode to the same bytes

    def subset(self, shard: int) -> Subset:
        """Return the subset of a shard."""
        return SUBSETS[self.source(shard).subset]

    def output_count(self, subset: Subset) -> int:
        """Return the number of output shards of a subset."""
        return next(of.outputs for of in self.outputs if of.subset == subset)

    def source(self, shard: int) -> Source:
        """Return the source of a shard."""
        return next(s for s in self.recipe.sources if s.name == self.sources[shard])


@dataclass(frozen=True, kw_only=True)
class SidecarLook:
    """The side-cars of one shard that could be read."""

    corpus: Folder
    shard: int
    tables: dict[str, pa.Table] = field(default_factory=dict)  # by folder, of the right schema
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
        """Map the key of each row to the row."""
        return {row["key"]: row for row in self.tables[folder].to_pylist()}


@dataclass(frozen=True, kw_only=True)
class ShardLook(SidecarLook):
    """The side-cars of one shard of a corpus."""

    corpus: Look


def schema_faults(table: pa.Table, schema: pa.Schema) -> list[str]:
    """Return how a table differs from a schema; a null in a column is a difference."""
    if table.column_names != schema.names:
        return [f"columns are {table.column_names}, expected {schema.names}"]
    faults = [
        f"column {field.name} has type {table[field.name].type}, expected {field.type}"
        for field in schema
        if not table[field.name].type.equals(field.type)
    ]
    return faults + [
        f"column {name} holds {table[name].null_count:,} nulls"
        for name in schema.names
        if table[name].null_count and not schema.field(name).nullable
    ]


def checked_origin(store: Storage, path: str) -> Origin:
    """Read a footer, and check the types of its values.

    Raises:
        CorpusError: there is no footer, or a value has a wrong type.
    """
    origin = read_origin(store, path)
    if origin is None:
        raise CorpusError("missing")
    counts = origin.counts
    rows = [counts.rows_in, counts.kept]
    for outcomes in (counts.dropped, counts.failed):
        rows += [*outcomes.values()] if isinstance(outcomes, dict) else [None]
    texts = [origin.stage, origin.fingerprint, origin.content, origin.keys, *origin.files]
    texts.append(origin.base)
    rows += [*origin.passed_over.values()] if isinstance(origin.passed_over, dict) else [None]
    sound = all(map(is_count, rows))
    if not (sound and all(isinstance(t, str) for t in texts) and isinstance(origin.tar, dict)):
        raise CorpusError(f"its footer has a value of a wrong type: {origin}")
    return origin


def is_count(value: Any) -> bool:
    """Return whether a value is an int that can be a count of rows."""
    return type(value) is int and 0 <= value < MAX_ROWS


def as_written(store: Storage, path: str, schema: pa.Schema) -> Iterator[Fault]:
    """Check that a file holds its rows and nothing else, written as a stage writes them."""
    if not is_as_written(store.read(path), schema):
        yield Fault(path, "holds more than its rows, or is not written as a stage writes it")
