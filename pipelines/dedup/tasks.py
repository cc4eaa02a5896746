"""What dedup does with the rows that were sent to one partition: plain functions of tables.

Each returns by output what it sends, and the partition of each row of it.

Rows that the next step would find equal are settled in the task that sends them, as far as they
meet there. So of an image that comes a million times, each task sends one row, and what meets in
a task does not grow with how popular an image is.

Verdicts are sent under up to three names: `unresolved` to whom asks for the row that was kept,
which a later step may have removed; `resolved` to whom asks for the row that was removed;
`verdicts` to whom writes the row's shard.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dedup.near_duplicates import (
    band_masks,
    clusters,
    near_hashes,
    run_ends,
    run_starts,
    settle_clusters,
)
from pipelines.dedup.rows import (
    GONE,
    KEPT_KEY,
    KEY,
    PHASH,
    REPEATS,
    ROW,
    SHA256,
    TEXT,
    best_first,
    first_of_equal,
    first_of_same_bytes,
    first_of_same_look,
    gone,
    layouts,
    numbers,
    read_rows,
    settle_early,
    standing,
)
from pipelines.runtime.exchange import Sending, Tables, partition_of
from schemas.recipe import DedupConfig
from schemas.store.storage import Storage

REPEATED_URL, SAME_BYTES, NEAR_DUPLICATE = "repeated_url", "same_bytes", "near_duplicate"
KEPT = (*KEPT_KEY, "kept_phash")  # what a verdict says of the row that stands
LABELS = pa.schema([("phash", pa.uint64()), ("cluster", pa.uint64())])


class Comparison(NamedTuple):
    """How a step finds rows that are equal, and how they are sent to it."""

    first: Callable[[pa.Table], np.ndarray]  # of each row, the row that is kept for it
    reason: str
    output: str
    identity: Sequence[str]  # columns that are equal for rows that are


EQUAL = {
    "bytes": Comparison(first_of_same_bytes, SAME_BYTES, "by_bytes", SHA256),
    "equal": Comparison(first_of_same_look, NEAR_DUPLICATE, "by_phash", PHASH),
}


@dataclass(frozen=True, kw_only=True)
class DedupTasks:
    """The tasks of one recipe, and how many partitions rows go to."""

    config: DedupConfig
    partitions: int
    rows_of: str = "signals"  # folder of the stage whose rows are compared

    @property
    def hashed(self) -> bool:
        """Whether looks are compared."""
        return self.config.phash_distance is not None

    @property
    def distance(self) -> int:
        """Most bits in which the pHashes of near-duplicates differ."""
        return self.config.phash_distance or 0

    @property
    def steps(self) -> list[str]:
        """The steps that take rows away, in order."""
        return ["urls", *["bytes"] * self.config.same_bytes, *["equal", "near"] * self.hashed]

    def group_of(self, shard: np.ndarray) -> np.ndarray:
        """Return the group of shards that is read, and written, by one task."""
        return shard % self.partitions

    def read(self, shards: Sequence[int], store: Storage) -> Sending:
        """Send the rows of some shards by URL."""
        tables = [
            read_rows(
                shard,
                store,
                rows_of=self.rows_of,
                hashed=self.hashed,
                fold_case=self.config.fold_case,
            )
            for shard in sorted(shards)
        ]
        found = [table for table in tables if table is not None]
        if not found:
            return {}
        rows = pa.concat_tables(found)
        return {"by_url": (rows, self._by(rows, KEY))}

    def urls(self, tables: Tables) -> Sending:
        """Keep the first shard's row of a URL; send texts to be counted, and rows by bytes."""
        rows = tables["by_url"]
        stands = first_of_equal(numbers(rows, KEY), numbers(rows, ["shard"]))
        texts = standing(rows, stands).select([*ROW, *TEXT])
        return {
            "texts": (texts, self._by(texts, KEY)),  # they come back to this partition
            **self._counted(texts),
            **self._settled("urls", rows.drop_columns([*TEXT]), stands, REPEATED_URL),
        }

    def count(self, tables: Tables) -> Sending:
        """Add up the rows of each text; tell every partition that has some."""
        counts = tables["counts"]
        total = counts.group_by([*TEXT], use_threads=False).aggregate([("rows", "sum")])
        totals = counts.select([*TEXT, "home"]).join(total, [*TEXT], use_threads=False)
        return {"totals": (totals.drop_columns("home"), totals["home"].to_numpy())}

    def repeat(self, tables: Tables) -> Sending:
        """Say of each row how often its text comes."""
        rows = tables["texts"].join(tables["totals"], [*TEXT], use_threads=False)
        repeats = rows.select([*ROW, "rows_sum"]).rename_columns(REPEATS.names).cast(REPEATS)
        return {"repeats": (repeats, self._by_group(repeats))}

    def bytes(self, tables: Tables) -> Sending:
        """Keep the row of the smallest key of those with equal bytes."""
        rows = tables["by_bytes"]
        return self._settled("bytes", rows, first_of_same_bytes(rows), SAME_BYTES)

    def equal(self, tables: Tables) -> Sending:
        """Keep the best row of equal looks; send each hash that is left once a band."""
        rows = tables["by_phash"]
        stands = first_of_same_look(rows)
        stay = standing(rows, stands)
        hashes = np.unique(stay["phash"].to_numpy())
        masks = np.array(band_masks(self.distance), np.uint64)
        bands = np.repeat(np.arange(len(masks), dtype=np.uint8), len(hashes))
        hashes = np.tile(hashes, len(masks))
        banded = pa.Table.from_pydict({"phash": hashes, "band": bands})
        by_band = partition_of([hashes & masks[bands], bands.astype(np.uint64)], self.partitions)
        return {
            "unlike": (stay, self._by(stay, PHASH)),
            "by_band": (banded, by_band),
            **self._settled("equal", rows, stands, NEAR_DUPLICATE),
        }

    def bands(self, tables: Tables) -> Sending:
        """Find hashes that are near; what links them all goes to one task.

        A cluster of n hashes has up to n (n - 1) / 2 near pairs, but n - 1 links say the same.
        """
        hashes, bands = numbers(tables["by_band"], ["phash", "band"])
        a, b = clusters(near_hashes(hashes, bands, self.distance))
        links = pa.Table.from_pydict({"a": a, "b": b}).filter(pa.array(a != b))
        return {"links": (links, np.zeros(len(links), np.int64))}

    def join(self, tables: Tables) -> Sending:
        """Join near hashes into clusters."""
        hashes, cluster = clusters(np.stack(numbers(tables["links"], ["a", "b"]), axis=1))
        labels = pa.Table.from_pydict({"phash": hashes, "cluster": cluster})
        return {"labels": (labels, self._by(labels, PHASH))}

    def gather(self, tables: Tables) -> Sending:
        """Send the rows of a cluster to one task; a row that nothing can be like goes nowhere."""
        rows = tables["unlike"]
        labels = tables.get("labels", LABELS.empty_table())
        rows = rows.join(labels, "phash", use_threads=False).sort_by("phash")
        hashes = rows["phash"].to_numpy()
        shared = run_ends(hashes) - run_starts(hashes) > 1
        labelled = rows["cluster"].is_valid()
        # Where no other hash is near, a hash is its own cluster.
        cluster = pc.coalesce(rows["cluster"], rows["phash"])
        rows = rows.drop_columns("cluster").append_column("cluster", cluster)
        rows = rows.filter(pc.or_(labelled, pa.array(shared)))
        return {"by_cluster": (rows, self._by(rows, ["cluster"]))}

    def near(self, tables: Tables) -> Sending:
        """Settle whole clusters."""
        rows = tables["by_cluster"]
        cluster = rows["cluster"].to_numpy()
        order = np.lexsort([*reversed(best_first(rows)), cluster])
        rows = rows.take(order)
        stands = settle_clusters(
            cluster[order],
            rows["phash"].to_numpy(),
            np.ascontiguousarray(layouts(rows).T),
            distance=self.distance,
            colour_distance=self.config.colour_distance,
        )
        return self._settled("near", rows, stands, NEAR_DUPLICATE)

    def resolve(self, step: str) -> Callable[[Tables], Sending]:
        """Return the task that redirects the verdicts of a step; see `_Resolve`."""
        return _Resolve(tasks=self, step=step)

    def _counted(self, texts: pa.Table) -> Sending:
        """Send texts, not rows: all rows without a text, perhaps most, are one."""
        home = self._by(texts.slice(0, 1), KEY)
        counts = texts.group_by([*TEXT], use_threads=False).aggregate([([], "count_all")])
        counts = counts.rename_columns([*TEXT, "rows"])
        counts = counts.append_column("home", pa.array(home.repeat(len(counts))))
        return {"counts": (counts, self._by(counts, TEXT))}

    def _settled(self, step: str, rows: pa.Table, stands: np.ndarray, reason: str) -> Sending:
        """Send verdicts on the rows that a step removes, and the others to the next step.

        Rows that the next step would find equal are settled already, as far as they are here.
        """
        removed = stands != np.arange(len(rows))
        following = self._following(step)
        if following is None:
            return self._verdicts(step, gone(rows, stands, np.full(len(rows), reason)))
        stands = settle_early(rows, stands, following.first)
        left = standing(rows, stands)
        if following.output == "by_phash":
            left = left.drop_columns([*SHA256])
        return {
            following.output: (left, self._by(left, following.identity)),
            **self._verdicts(step, gone(rows, stands, np.where(removed, reason, following.reason))),
        }

    def _following(self, step: str) -> Comparison | None:
        """Return how the step after compares rows, if it looks for equal ones."""
        place = self.steps.index(step) + 1
        return EQUAL.get(self.steps[place]) if place < len(self.steps) else None

    def _verdicts(self, step: str, verdicts: pa.Table) -> Sending:
        """Send verdicts of a step: to be written, if no later step removes the row kept."""
        if step != self.steps[-1]:
            return {"unresolved": (verdicts, self._by(verdicts, KEPT_KEY))}
        return self._resolved(step, verdicts)

    def _resolved(self, step: str, verdicts: pa.Table) -> Sending:
        """Send verdicts whose kept row stays: to be written, and to whom asks for the removed."""
        written = {"verdicts": (verdicts, self._by_group(verdicts))}
        if step == self.steps[0]:
            return written
        return {"resolved": (verdicts, self._by(verdicts, KEY)), **written}

    def _by(self, rows: pa.Table, identity: Sequence[str]) -> np.ndarray:
        return partition_of(numbers(rows, identity), self.partitions)

    def _by_group(self, rows: pa.Table) -> np.ndarray:
        return self.group_of(rows["shard"].to_numpy())


@dataclass(frozen=True, kw_only=True)
class _Resolve:
    """Where a later step removed the row that stood for others, let the row kept for it do so."""

    tasks: DedupTasks
    step: str

    def __call__(self, tables: Tables) -> Sending:
        """Redirect the verdicts of the step by those of all later steps."""
        if "unresolved" not in tables:
            return {}
        verdicts = tables["unresolved"]
        if "resolved" in tables:
            verdicts = _redirected(verdicts, tables["resolved"])
        return self.tasks._resolved(self.step, verdicts)


def _redirected(verdicts: pa.Table, resolved: pa.Table) -> pa.Table:
    """Replace the kept row of verdicts by the row that stands for it."""
    new = [f"new_{name}" for name in KEPT]
    resolved = resolved.select([*KEY, *KEPT]).rename_columns([*KEPT_KEY, *new])
    joined = verdicts.join(resolved, list(KEPT_KEY), use_threads=False)
    kept = {
        name: pc.coalesce(joined[newer], joined[name])
        for name, newer in zip(KEPT, new, strict=True)
    }
    return pa.table([kept.get(name, joined[name]) for name in GONE.names], schema=GONE)
