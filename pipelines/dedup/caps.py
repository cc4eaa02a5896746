"""Caps: at most so many rows of a text, an image, a host, an author or a source in the corpus.

Of a group that has more rows, those of the lowest ranks stay. A rank is a hash of the row's key and
the name of the cap. The caps work one after the other, each on the rows that the one before left.

A group can be as large as the corpus, so no task receives its rows. Each task counts the rows of a
group in BINS ranges of ranks (`offer`). One task adds up the counts, and finds the range that the
cap ends in (`last`). Only the rows of that range are compared (`edge`, `cut`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dedup.rows import KEY, ROW, SHA256, TEXT, digest, numbers, standing_alone
from pipelines.runtime.exchange import Outputs, Tables, partition_of, scramble
from schemas.recipe import Recipe

BIN_BITS = 12  # of a rank: 4,096 ranges
QUOTA = "quota"


@dataclass(frozen=True, kw_only=True)
class Cap:
    """The most rows of each group. A row without a group has the words 0 and 0."""

    reason: str  # of the rows that are dropped
    groups: tuple[str, str]  # columns: the two words of the group's digest
    limit: int | None  # of each group; None where each has its own, in `limits`
    limits: tuple[tuple[int, int, int], ...] = ()  # the two words of a group, and its limit


def caps_of(recipe: Recipe) -> tuple[Cap, ...]:
    """Return the caps of a recipe, in the order in which they work."""
    config = recipe.dedup
    asked = {
        "max_per_text": (TEXT, config.max_per_text),
        "max_per_image": (SHA256[:2], config.max_per_image),  # 128 bits tell files apart
        "max_per_host": (("host0", "host1"), config.max_per_host),
        "max_per_author": (("author0", "author1"), config.max_per_author),
    }
    caps = [
        Cap(reason=reason, groups=groups, limit=limit)
        for reason, (groups, limit) in asked.items()
        if limit is not None
    ]
    quotas = tuple((*digest(s.name), s.quota) for s in recipe.sources if s.quota)
    if quotas:
        caps.append(Cap(reason=QUOTA, groups=("source0", "source1"), limit=None, limits=quotas))
    return tuple(caps)


def group_columns(caps: Sequence[Cap]) -> list[str]:
    """Return the columns that tell the groups of rows."""
    return list(dict.fromkeys(name for cap in caps for name in cap.groups))


def rank_of(rows: pa.Table, salt_of: str) -> np.ndarray:
    """Return the rank of each row for a purpose: uint64 `[n]`, spread evenly."""
    salt, _ = digest(salt_of)
    first, second = numbers(rows, KEY)
    return scramble(scramble(first ^ np.uint64(salt)) ^ second)


@dataclass(frozen=True, kw_only=True)
class CapTasks:
    """The tasks of one cap, plain functions of tables."""

    cap: Cap
    partitions: int
    bin_bits: int = BIN_BITS  # changes no result

    def offer(self, tables: Tables) -> Outputs:
        """Leave out what the cap before dropped; count the rows of each group and range."""
        rows = tables["capped"] if "capped" in tables else tables["rows"]
        for removed in ("resolved", "over"):
            rows = without(rows, tables[removed]) if removed in tables else rows
        if not rows.num_rows:
            return {}
        reply_to = int(self._by(rows.slice(0, 1), KEY)[0])
        grouped = self._grouped(rows)
        counts = grouped.group_by([*self.cap.groups, "bin"], use_threads=False)
        counted = counts.aggregate([([], "count_all")]).rename_columns(
            [*self.cap.groups, "bin", "rows"]
        )
        counted = counted.append_column("reply_to", pa.array([reply_to] * len(counted), pa.int64()))
        return {
            "rows": (rows, self._by(rows, KEY)),
            "counts": (counted, self._by(counted, self.cap.groups)),
        }

    def last(self, tables: Tables) -> Outputs:
        """Find the range in which the cap of each group ends; reply to who sent its counts."""
        names, counts = [*self.cap.groups], tables["counts"]
        total = counts.group_by([*names, "bin"], use_threads=False).aggregate([("rows", "sum")])
        total = total.sort_by([(name, "ascending") for name in (*names, "bin")])
        group = numbers(total, names)
        limits = self._limits(group)
        until = _sums_in_groups(group, total["rows_sum"].to_numpy())
        before = until - total["rows_sum"].to_numpy()
        ends = (before <= limits) & (until > limits)
        found = total.select([*names, "bin"]).append_column("room", pa.array(limits - before))
        found = found.filter(pa.array(ends)).rename_columns([*names, "last", "room"])
        asked = counts.select([*names, "reply_to"]).group_by([*names, "reply_to"]).aggregate([])
        replies = asked.join(found, names, join_type="inner", use_threads=False)
        return {"lasts": (replies.drop_columns("reply_to"), replies["reply_to"].to_numpy())}

    def edge(self, tables: Tables) -> Outputs:
        """Drop the rows beyond the last range of their group; send those in it to be compared."""
        rows = tables["rows"]
        if "lasts" not in tables:
            return {"rows": (rows, self._by(rows, KEY))}
        lasts = tables["lasts"]
        ranked = rows.append_column("bin", pa.array(self._bins(rows)))
        ranked = ranked.join(lasts, [*self.cap.groups], use_threads=False)
        no_bin = pa.scalar(_NO_BIN, pa.uint64())
        last: np.ndarray = pc.fill_null(ranked["last"], no_bin).to_numpy()  # pyright: ignore
        bins = ranked["bin"].to_numpy()
        kept = ranked.filter(pa.array(bins <= last)).select(rows.column_names)
        edge = ranked.filter(pa.array(bins == last)).select([*ROW, *self.cap.groups, "bin", "room"])
        dropped = standing_alone(ranked.filter(pa.array(bins > last)), self.cap.reason)
        return {
            "rows": (kept, self._by(kept, KEY)),
            "edge": (edge, self._by(edge, [*self.cap.groups, "bin"])),
            "verdicts": (dropped, dropped["shard"].to_numpy() % self.partitions),
        }

    def cut(self, tables: Tables) -> Outputs:
        """Keep as many rows of a range as there is room for, by rank."""
        rows = tables["edge"]
        group = [*numbers(rows, self.cap.groups), rows["bin"].to_numpy()]
        order = np.lexsort(
            [*reversed(numbers(rows, KEY)), rank_of(rows, self.cap.reason), *group[::-1]]
        )
        rows = rows.take(order)
        place = _sums_in_groups([words[order] for words in group], np.ones(len(rows), np.int64))
        over = rows.filter(pa.array(place > rows["room"].to_numpy()))
        dropped = standing_alone(over, self.cap.reason)
        return {
            "over": (over.select([*KEY]), self._by(over, KEY)),
            "verdicts": (dropped, dropped["shard"].to_numpy() % self.partitions),
        }

    def _grouped(self, rows: pa.Table) -> pa.Table:
        """Return the groups and ranges of the rows that have a group with a limit."""
        group = numbers(rows, self.cap.groups)
        table = rows.select([*self.cap.groups]).append_column("bin", pa.array(self._bins(rows)))
        limited = (group[0] != 0) | (group[1] != 0)
        return table.filter(pa.array(limited & (self._limits(group) < _ALL)))

    def _limits(self, group: Sequence[np.ndarray]) -> np.ndarray:
        """Return the limit of each row's group; _ALL for a group without one."""
        if self.cap.limit is not None:
            return np.full(len(group[0]), self.cap.limit, np.int64)
        limits = np.full(len(group[0]), _ALL, np.int64)
        for first, second, limit in self.cap.limits:
            mine = (group[0] == np.uint64(first)) & (group[1] == np.uint64(second))
            limits[mine] = limit
        return limits

    def _bins(self, rows: pa.Table) -> np.ndarray:
        return rank_of(rows, self.cap.reason) >> np.uint64(64 - self.bin_bits)

    def _by(self, rows: pa.Table, identity: Sequence[str]) -> np.ndarray:
        return partition_of(numbers(rows, identity), self.partitions)


_NO_BIN = 2**64 - 1
_ALL = np.iinfo(np.int64).max  # rows


def without(rows: pa.Table, removed: pa.Table) -> pa.Table:
    """Return the rows whose keys are not among those of removed rows."""
    keys = removed.select([*KEY])
    return rows.join(keys, [*KEY], join_type="left anti", use_threads=False)


def _sums_in_groups(group: Sequence[np.ndarray], values: np.ndarray) -> np.ndarray:
    """Return the running sum of values within each group; equal groups lie together.

    >>> _sums_in_groups([np.array([1, 1, 2])], np.array([5, 1, 4])).tolist()
    [5, 6, 4]
    """
    sums = np.cumsum(values)
    starts = np.ones(len(values), bool)
    for words in group:
        starts[1:] &= words[1:] == words[:-1]
    starts = ~starts
    starts[:1] = True
    base = np.where(starts, sums - values, 0)
    return sums - np.maximum.accumulate(base)
