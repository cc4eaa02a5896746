"""What select keeps by a few recipes, in one pass over the stored columns."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import add
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.signal import Column
from pipelines.runtime.sidecar import Counts
from pipelines.thresholds.stored import Chunk, Stored, Verdicts

Masks = Sequence[np.ndarray]  # by shard: bool, an entry a row of `signals/`


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Sums of columns over some rows."""

    totals: Mapping[str, float] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)  # that have a value

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(totals=_added(self.totals, other.totals), rows=_added(self.rows, other.rows))

    def means(self) -> dict[str, float]:
        """Return the mean of each column that has values; of a flag, the share that is set."""
        return {name: self.totals[name] / rows for name, rows in self.rows.items() if rows}


@dataclass(kw_only=True)
class Selection:
    """What select keeps by one recipe."""

    rows_in: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    to_score: int = 0  # rows that it does not get, because they must be scored first
    asked: int = 0  # rows that pass the rules which need no score
    masks: list[np.ndarray] = field(default_factory=list)  # of the rows that it keeps, by shard
    sums: Sums = field(default_factory=Sums)  # of those rows

    def add(self, verdicts: Verdicts, rows: Sequence[int], sums: Sums) -> None:
        """Add the verdicts on a chunk, in order; `rows` are those of each shard."""
        self.rows_in += int(verdicts.is_in.sum())
        self.dropped.update(verdicts.dropped())
        self.to_score += int(verdicts.to_score.sum())
        self.asked += int(verdicts.passes.sum())
        self.masks += np.split(verdicts.kept, np.cumsum(rows)[:-1])
        self.sums += sums

    @property
    def counts(self) -> Counts:
        """The outcomes of select."""
        kept = self.rows_in - self.dropped.total()
        return Counts(rows_in=self.rows_in, kept=kept, dropped=dict(sorted(self.dropped.items())))


def select_rows(stored: Stored) -> list[Selection]:
    """Judge all rows by the rules of each recipe of `stored`."""

    def judge(chunk: Chunk) -> tuple[list[int], list[tuple[Verdicts, Sums]]]:
        tables = stored.tables(chunk)
        values = pa.concat_tables(tables).combine_chunks()
        verdicts = stored.verdicts(chunk.source, values)
        return [len(table) for table in tables], [
            (each, sums_of(values, stored.shown, each.kept)) for each in verdicts
        ]

    selections = [Selection() for _ in stored.recipes]
    for rows, found in stored.each(judge):
        for selection, (verdicts, sums) in zip(selections, found, strict=True):
            selection.add(verdicts, rows, sums)
    return selections


def sums_of_rows(stored: Stored, masks: Masks) -> Sums:
    """Sum up the columns of `stored.shown` over some rows of all shards."""

    def sums(chunk: Chunk) -> Sums:
        mask = np.concatenate([masks[shard] for shard in chunk.shards])
        return sums_of(pa.concat_tables(stored.tables(chunk)), stored.shown, mask)

    total = Sums()
    for each in stored.each(sums):
        total += each
    return total


def sums_of(values: pa.Table, columns: Sequence[Column], mask: np.ndarray) -> Sums:
    """Sum up columns over the rows of a mask that have a value there."""
    chosen = values.select([column.name for column in columns]).filter(pa.array(mask))
    totals, rows = dict[str, float](), dict[str, int]()
    for column in columns:
        found = chosen[column.name].drop_null()
        if column.nothing is not None:
            found = found.filter(pc.not_equal(found, pa.scalar(column.nothing)))
        totals[column.name] = float(pc.sum(found, min_count=0).as_py())
        rows[column.name] = len(found)
    return Sums(totals=totals, rows=rows)


def _added(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    return {name: add(a.get(name, 0), b.get(name, 0)) for name in {**a, **b}}
