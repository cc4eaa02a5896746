"""Stored values of many shards, and what the rules of a recipe make of them.

The rows of a shard are those of `signals/`, in key order. A row that no scorer could score is
missing in `scores/`. A row that a rule on measured values dropped is there, without scores.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.registry import columns
from filters.rules import (
    NOTHING_BROKEN,
    columns_in,
    first_broken,
    measured_first,
    reason_count,
)
from filters.scores.registry import columns_of
from filters.signal import Column
from pipelines.runtime.sidecar import read_columns, sidecar_path
from pipelines.runtime.values import LISTED, read_values
from pipelines.sources.plan import read_plan
from schemas.recipe import Recipe
from schemas.rule_config import Rule
from schemas.store.storage import Storage

SHARDS_A_CHUNK = 16  # that are judged together, of one source
REMOTE_THREADS = 32
FAILED = "(failed)"  # column of `Stored.tables`; no scorer can have this name
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Shards of one source that follow each other."""

    source: str
    shards: range


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """What the rules of a recipe make of some rows; arrays have an entry a row."""

    broken: np.ndarray  # number of the first reason, int16; NOTHING_BROKEN for none
    reasons: Sequence[str]
    passes: np.ndarray  # whether the row passes the rules that need no score, bool
    is_in: np.ndarray  # whether select gets the row, bool
    to_score: np.ndarray  # whether it must be scored before select can judge it, bool

    @cached_property
    def kept(self) -> np.ndarray:
        """Whether select keeps the row, bool."""
        return self.is_in & (self.broken == NOTHING_BROKEN)

    def dropped(self) -> Counter[str]:
        """Count the rows that select drops, by reason."""
        numbers = np.minimum(self.broken[self.is_in], len(self.reasons))
        found = np.bincount(numbers, minlength=len(self.reasons) + 1).tolist()[:-1]
        return Counter({reason: n for reason, n in zip(self.reasons, found, strict=True) if n})


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The side-cars of a corpus, read for a few recipes that differ in rules, caps and quotas."""

    store: Storage
    recipes: Sequence[Recipe]

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The source of each shard."""
        return tuple(unit.source for unit in read_plan(self.store))

    def chunks(self) -> list[Chunk]:
        """Return all shards, in order."""
        found: list[Chunk] = []
        for source, group in groupby(range(len(self.sources)), key=self.sources.__getitem__):
            numbers = list(group)
            cuts = [*numbers[::SHARDS_A_CHUNK], numbers[-1] + 1]
            found += [Chunk(source=source, shards=range(*cut)) for cut in pairwise(cuts)]
        return found

    def each(self, function: Callable[[Chunk], T]) -> Iterator[T]:
        """Call a function for every chunk, several at once; yield the results in order."""
        threads = (os.cpu_count() or 1) if self.store.is_local else REMOTE_THREADS
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(function, self.chunks())

    @cached_property
    def shown(self) -> tuple[Column, ...]:
        """The columns whose means are worth a line: scores, and signals that rules name."""
        recipe = self.recipes[0]
        measured, scored = columns(recipe.measure.signals), columns_of(recipe.score.scorers)
        named = {name for names in self._named.values() for name in names}
        signals = [column for column in measured if column.name in named]
        return tuple(column for column in (*signals, *scored) if column.is_ordered)

    def tables(self, chunk: Chunk) -> list[pa.Table]:
        """Read the columns that rules name, and those of `shown`; a table a shard.

        Returns:
            A row for each in `signals/`, in order; scores are null where there are none. Also
            FAILED: whether a row could not be scored.
        """
        shown = (column.name for column in self.shown)
        names = list(dict.fromkeys([*self._named[chunk.source], *shown]))
        return [self._of_shard(shard, names) for shard in chunk.shards]

    def verdicts(self, source: str, values: pa.Table) -> list[Verdicts]:
        """Judge rows of a source by the rules that each recipe has for it."""
        done: dict[str, list[Any]] = {}
        scored = [name for name in self._scored if name in values.column_names]
        # Rows without any score: all scorers score the same rows.
        without = values[scored[0]].is_null().to_numpy() if scored else np.zeros(len(values), bool)
        rules = [recipe.rules_by_source()[source] for recipe in self.recipes]
        return [self._verdicts(values, each, without, done) for each in rules]

    def _verdicts(
        self,
        values: pa.Table,
        rules: Mapping[str, Rule],
        without: np.ndarray,
        done: dict[str, list[Any]],
    ) -> Verdicts:
        cheap, dear = measured_first(rules, self._scored)
        broken, reasons = first_broken(values, {**cheap, **dear}, done)
        passes = broken >= reason_count(cheap)
        failed = values[FAILED].to_numpy()
        to_score = passes & without & ~failed
        return Verdicts(
            broken=broken,
            reasons=reasons,
            passes=passes,
            is_in=~(passes & failed) & ~to_score,
            to_score=to_score,
        )

    @cached_property
    def _scored(self) -> tuple[str, ...]:
        return tuple(column.name for column in columns_of(self.recipes[0].score.scorers))

    @cached_property
    def _named(self) -> Mapping[str, list[str]]:
        """The columns that rules name, by source."""
        found: dict[str, list[str]] = {}
        for recipe in self.recipes:
            for source, rules in recipe.rules_by_source().items():
                found[source] = list(dict.fromkeys([*found.get(source, []), *columns_in(rules)]))
        return found

    def _of_shard(self, shard: int, names: Sequence[str]) -> pa.Table:
        listed = [name for name in names if name in LISTED]
        scored = [name for name in names if name in self._scored] or list(self._scored[:1])
        measured = [name for name in names if name not in (*LISTED, *self._scored)]
        scores = read_columns(self.store, sidecar_path("scores", shard), scored)
        rows = read_columns(self.store, sidecar_path("signals", shard), measured)
        missing = np.zeros(rows.num_rows, bool)
        if scores.num_rows != rows.num_rows:
            place = self._places(shard)
            scores, missing = scores.take(place), place.is_null().to_numpy(zero_copy_only=False)
        if listed:
            asked = read_values(self.store, shard, self.keys(shard), listed, folders=())
            rows = pa.table({**_columns(rows), **_columns(asked)})
        found: dict[str, Any] = {**_columns(rows), **_columns(scores), FAILED: missing}
        return pa.table(found)

    def keys(self, shard: int) -> "pa.Array[Any]":
        """Return the keys of the rows of a shard, in order."""
        path = sidecar_path("signals", shard)
        return read_columns(self.store, path, ["key"])["key"].combine_chunks()

    def _places(self, shard: int) -> "pa.Array[Any]":
        """Return the place of each row in `scores/`, null where it is missing."""
        path = sidecar_path("scores", shard)
        scored = read_columns(self.store, path, ["key"])["key"].combine_chunks()
        return pc.index_in(self.keys(shard), scored)


def _columns(table: pa.Table) -> dict[str, Any]:
    return dict(zip(table.column_names, table.columns, strict=True))
