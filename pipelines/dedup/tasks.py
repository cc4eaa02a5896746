"""Process the rows of one partition: the tasks of dedup, plain functions of tables.

Each task returns its outputs, with the partition of each row.

A task also compares the rows that it keeps as the next step will, before it sends them. So it sends
one row of an image that comes a million times, and at most one row a task meets in the next step.

Verdicts are sent as up to three outputs: `unresolved` to the partition of the representative,
which a later step may have removed; `resolved` to the partition of the removed row, whose verdict
redirects earlier ones; `verdicts` to the task that writes the row's shard.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dedup.balance import ENTRIES, with_entries
from pipelines.dedup.caps import Cap, group_columns, rank_of
from pipelines.dedup.contamination import Contamination
from pipelines.dedup.near_duplicates import (
    band_masks,
    clusters,
    find_representatives,
    near_hashes,
    run_ends,
    run_starts,
)
from pipelines.dedup.rows import (
    EARLIER_ROWS_OF,
    KEPT_KEY,
    KEY,
    NEAR_DUPLICATE,
    OF_PARTS,
    PHASH,
    REMOVED_ROWS,
    REPEATED_URL,
    REPEATS,
    ROW,
    SAME_BYTES,
    SEMANTIC_DUPLICATE,
    SHA256,
    TEXT,
    TEXT_REPEATS,
    TEXTS,
    Place,
    best_first,
    compare_kept,
    errors_naming,
    first_of_equal,
    first_of_same_bytes,
    first_of_same_look,
    kept_rows,
    layouts,
    numbers,
    own_rows,
    points_of,
    read_embedded,
    read_rows,
    removed_rows,
    standing_alone,
    with_digests_of_parts,
)
from pipelines.dedup.semantic import Points, find_centroids, nearest, representatives, sample_share
from pipelines.runtime.exchange import Outputs, Tables, partition_of
from pipelines.sources.plan import read_plan
from pipelines.sources.shard_subsets import ShardSubsets
from schemas.recipe import DedupConfig
from schemas.store.storage import Storage
from schemas.subsets import T2I

# Columns of a verdict that describe the representative.
KEPT = (*KEPT_KEY, "kept_phash", "kept_shard")
SAMPLE = "sample of embeddings"  # salt of the draw
LABELS = pa.schema([("phash", pa.uint64()), ("cluster", pa.uint64())])
TOTALS = pa.schema([*((name, pa.uint64()) for name in TEXT), ("rows_sum", pa.int64())])


class Comparison(NamedTuple):
    """How a step compares rows for equality, and how they are sent to it."""

    first: Callable[[pa.Table], np.ndarray]  # returns the number of each row's representative
    reason: str
    output: str  # by which the step receives rows
    partitioned_by: Sequence[str]  # columns; equal rows have equal values


EQUAL = {
    "bytes": Comparison(first_of_same_bytes, SAME_BYTES, "by_bytes", SHA256),
    "equal": Comparison(first_of_same_look, NEAR_DUPLICATE, "by_phash", PHASH),
}


@dataclass(frozen=True, kw_only=True)
class DedupTasks:
    """Run the tasks of one recipe."""

    config: DedupConfig
    partitions: int  # of each exchange
    caps: Sequence[Cap] = ()  # in the order in which they work
    rows_of: str = "selection"  # folder of the stage whose rows are compared
    rows: int = 0  # of that stage, for the number of clusters
    subsets: ShardSubsets = field(default_factory=ShardSubsets)

    @property
    def hashed(self) -> bool:
        """Whether pHashes and colours are compared."""
        return self.config.phash_distance is not None

    @property
    def distance(self) -> int:
        """Most bits in which the pHashes of near-duplicates differ."""
        return self.config.phash_distance or 0

    @property
    def steps(self) -> list[str]:
        """The steps that remove rows, in order."""
        images = [*["bytes"] * self.config.same_bytes, *["equal", "near"] * self.hashed]
        return ["urls", "texts", *images, *["semantic"] * (self.config.semantic is not None)]

    def group_of(self, shard: np.ndarray) -> np.ndarray:
        """Return the number of the group that each shard belongs to; a task reads or writes one."""
        return shard % self.partitions

    def read(self, group: int, shards: Sequence[int], store: Storage) -> Outputs:
        """Send the rows of a group of shards by URL, and those of earlier corpora beside them.

        Rows of this corpus that a benchmark contaminates go no further.
        """
        own = [Place(store, shard, shard, self.rows_of) for shard in sorted(shards)]
        found, verdicts = [rows for _, rows in self._rows(self._earlier(group))], []
        if self.config.balance:
            found = [_without_entries(rows) for rows in found]
        contamination = Contamination(config=self.config, store=store)
        for place, rows in self._rows(own, texts=True):
            clean, dropped = contamination.split(rows, self._points_of(rows, store))
            if self._is_of_parts(place):
                clean = with_digests_of_parts(place, clean)
            if self.config.balance:
                clean = with_entries(clean, self.config.balance)
            found.append(clean.drop_columns([*TEXTS]))
            verdicts.append(dropped)
        if not found:
            return {}
        rows = pa.concat_tables(found)
        sampled = self._sampled(own) if self.config.semantic else {}
        dropped = self._dropped(pa.concat_tables(verdicts)) if verdicts else {}
        return {"by_url": (rows, self._by(rows, KEY)), **sampled, **dropped}

    def urls(self, tables: Tables) -> Outputs:
        """Keep the first shard's row of each URL; send texts to be counted, and rows to caps."""
        rows = tables["by_url"]
        first = first_of_equal(numbers(rows, KEY), numbers(rows, ["shard"]))
        kept = kept_rows(rows, first)
        balanced = [ENTRIES] if self.config.balance else []
        grouped = [*ROW, *group_columns(self.caps), *balanced]
        groups = [name for name in grouped if name not in (*ROW, *TEXT, *SHA256)]
        removed = removed_rows(rows, first, np.full(len(rows), REPEATED_URL))
        by_key = self._by(kept, KEY)
        mine = own_rows(kept)
        limited = self.caps or self.config.balance
        capped = {"capped": (mine.select(grouped), self._by(mine, KEY))} if limited else {}
        return {
            "by_key": (kept.drop_columns(groups), by_key),  # `texts` joins them with their counts
            **capped,
            **self._counts(mine),
            **self._verdicts("urls", removed),
        }

    def count(self, tables: Tables) -> Outputs:
        """Add up the rows of each text; reply to each partition that asked."""
        counts = tables["counts"]
        total = counts.group_by([*TEXT], use_threads=False).aggregate([("rows", "sum")])
        totals = counts.select([*TEXT, "reply_to"]).join(total, [*TEXT], use_threads=False)
        return {"totals": (totals.drop_columns("reply_to"), totals["reply_to"].to_numpy())}

    def texts(self, tables: Tables) -> Outputs:
        """Join each row with the number of rows that have its text; drop those of too many.

        Texts of earlier corpora are not counted, so no total comes where only such rows are left.
        """
        totals = tables.get("totals", TOTALS.empty_table())
        rows = tables["by_key"].join(totals, [*TEXT], use_threads=False)
        repeats = own_rows(rows).select([*ROW, "rows_sum"])
        repeats = repeats.rename_columns(REPEATS.names).cast(REPEATS)
        limit = self.config.max_text_repeats
        many = rows["rows_sum"].to_numpy() > (limit or np.inf)
        rows = rows.drop_columns([*TEXT, "rows_sum"])
        kept = rows.filter(pa.array(~many))
        dropped = standing_alone(rows.filter(pa.array(many)), TEXT_REPEATS)
        return {
            "repeats": (repeats, self._by_group(repeats)),
            **self._finish("texts", kept, np.arange(len(kept)), "", dropped),
        }

    def bytes(self, tables: Tables) -> Outputs:
        """Keep the row of the smallest key among rows with equal bytes."""
        rows = tables["by_bytes"]
        return self._finish("bytes", rows, first_of_same_bytes(rows), SAME_BYTES)

    def equal(self, tables: Tables) -> Outputs:
        """Keep the best row among equal looks; send each pHash once a band."""
        rows = tables["by_phash"]
        first = first_of_same_look(rows)
        distinct = kept_rows(rows, first)
        hashes = np.unique(distinct["phash"].to_numpy())
        masks = np.array(band_masks(self.distance), np.uint64)
        bands = np.repeat(np.arange(len(masks), dtype=np.uint8), len(hashes))
        hashes = np.tile(hashes, len(masks))
        banded = pa.Table.from_pydict({"phash": hashes, "band": bands})
        by_band = partition_of([hashes & masks[bands], bands.astype(np.uint64)], self.partitions)
        return {
            "distinct": (distinct, self._by(distinct, PHASH)),
            "by_band": (banded, by_band),
            **self._finish("equal", rows, first, NEAR_DUPLICATE),
        }

    def bands(self, tables: Tables) -> Outputs:
        """Find near hashes; send the links between them to one task.

        A cluster of n hashes has up to n (n - 1) / 2 near pairs, but n - 1 links connect it.
        """
        hashes, bands = numbers(tables["by_band"], ["phash", "band"])
        a, b = clusters(near_hashes(hashes, bands, self.distance))
        links = pa.Table.from_pydict({"a": a, "b": b}).filter(pa.array(a != b))
        return {"links": (links, np.zeros(len(links), np.int64))}

    def join(self, tables: Tables) -> Outputs:
        """Join near hashes into clusters."""
        hashes, cluster = clusters(np.stack(numbers(tables["links"], ["a", "b"]), axis=1))
        labels = pa.Table.from_pydict({"phash": hashes, "cluster": cluster})
        return {"labels": (labels, self._by(labels, PHASH))}

    def gather(self, tables: Tables) -> Outputs:
        """Send the rows of a cluster to one task; leave out rows that are near no other row."""
        rows = tables["distinct"]
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

    def near(self, tables: Tables) -> Outputs:
        """Find the near-duplicates of each cluster."""
        rows = tables["by_cluster"]
        cluster = rows["cluster"].to_numpy()
        order = np.lexsort([*reversed(best_first(rows)), cluster])
        rows = rows.take(order)
        representatives = find_representatives(
            cluster[order],
            rows["phash"].to_numpy(),
            np.ascontiguousarray(layouts(rows).T),
            distance=self.distance,
            colour_distance=self.config.colour_distance,
        )
        return self._finish("near", rows, representatives, NEAR_DUPLICATE)

    def centroids(self, tables: Tables) -> Outputs:
        """Find the centroids of the clusters of embeddings; send them to each group of shards."""
        sample = tables["sample"]
        order = np.lexsort([*reversed(numbers(sample, KEY)), rank_of(sample, SAMPLE)])
        points = find_centroids(points_of(sample.take(order)), self.rows)
        groups = np.arange(self.partitions).repeat(len(points))
        packed = pa.array([point.tobytes() for point in points], pa.binary())
        sent = pa.Table.from_pydict({"points": pa.chunked_array([packed] * self.partitions)})
        return {"centroids": (sent, groups)}

    def embed(self, group: int, shards: Sequence[int], tables: Tables, store: Storage) -> Outputs:
        """Send the embeddings of the rows that no step removed to the tasks of their clusters."""
        places = [Place(store, shard, shard, self.rows_of) for shard in sorted(shards)]
        rows = self._embedded([*places, *self._earlier(group)])
        if rows is None or "centroids" not in tables:  # no row of this corpus has an embedding
            return {}
        if "removed" in tables:
            rows = rows.join(tables["removed"], [*ROW], join_type="left anti", use_threads=False)
        cluster = nearest(points_of(rows), points_of(tables["centroids"]))
        rows = rows.append_column("cluster", pa.array(cluster.astype(np.uint64)))
        return {"by_cluster": (rows, self._by(rows, ["cluster"]))}

    def semantic(self, tables: Tables) -> Outputs:
        """Find the semantic duplicates of each cluster."""
        rows = tables["by_cluster"]
        cluster = rows["cluster"].to_numpy()
        order = np.lexsort([*reversed(best_first(rows)), cluster])
        rows, cluster = rows.take(order), cluster[order]
        points, found = points_of(rows), np.arange(len(rows))
        assert self.config.semantic is not None
        for start in np.unique(run_starts(cluster)):
            mine = slice(start, start + np.count_nonzero(cluster == cluster[start]))
            found[mine] = start + representatives(points[mine], self.config.semantic.eps)
        return self._finish("semantic", rows, found, SEMANTIC_DUPLICATE)

    def _is_of_parts(self, place: Place) -> bool:
        """Whether the samples of a shard of this corpus have several parts."""
        return place.number >= 0 and self.subsets.of(place.shard, place.store) != T2I

    def _rows(
        self, places: Sequence[Place], *, texts: bool = False
    ) -> Iterator[tuple[Place, pa.Table]]:
        """Yield the rows of each shard that has any."""
        for place in places:
            with errors_naming(place):
                rows = read_rows(
                    place,
                    hashed=self.hashed,
                    fold_case=self.config.fold_case,
                    groups=group_columns(self.caps),
                    texts=texts,
                )
            if rows is not None:
                yield place, rows

    def _points_of(self, rows: pa.Table, store: Storage) -> Points | None:
        """Return the embeddings of the rows of one shard, if benchmarks are compared by them."""
        images = any(benchmark.images for benchmark in self.config.benchmarks)
        if self.config.semantic is None or not images:
            return None
        shard = int(rows["shard"][0].as_py())
        embedded = self._embedded([Place(store, shard, shard, self.rows_of)])
        return None if embedded is None else points_of(embedded)

    def _dropped(self, verdicts: pa.Table) -> Outputs:
        """Send verdicts on rows that no step sees."""
        written = {"verdicts": (verdicts, self._by_group(verdicts))}
        return {**written, **self._removed(verdicts)}

    def _removed(self, verdicts: pa.Table) -> Outputs:
        """Send removed rows to where the embeddings of the others are read."""
        removed = verdicts.select([*ROW])
        return {"removed": (removed, self._by_group(removed))} if self.config.semantic else {}

    def _earlier(self, group: int) -> list[Place]:
        """Return the shards of earlier corpora that a group reads."""
        found: list[Place] = []
        for number, earlier in enumerate(self.config.against):
            store = Storage(earlier.path)
            shards = range(group, len(read_plan(store)), self.partitions)
            found += [Place(store, shard, -1 - number, EARLIER_ROWS_OF) for shard in shards]
        return found

    def _embedded(self, places: Sequence[Place]) -> pa.Table | None:
        assert self.config.semantic is not None
        scorer = self.config.semantic.scorer
        found: list[pa.Table] = []
        for place in places:
            if self._is_of_parts(place):
                continue
            with errors_naming(place):
                table = read_embedded(place, scorer=scorer, hashed=self.hashed)
            found += [] if table is None else [table]
        return pa.concat_tables(found) if found else None

    def _sampled(self, places: Sequence[Place]) -> Outputs:
        """Send a share of the embeddings, by a hash of the keys, to one task."""
        rows = self._embedded(places)
        if rows is None:
            return {}
        drawn = rank_of(rows, SAMPLE) / 2.0**64 < sample_share(self.rows)
        sample = rows.select([*KEY, "points"]).filter(pa.array(drawn))
        return {"sample": (sample, np.zeros(len(sample), np.int64))}

    def resolve(self, step: str) -> Callable[[Tables], Outputs]:
        """Return the task that redirects the verdicts of a step; see `_Resolve`."""
        return _Resolve(tasks=self, step=step)

    def _counts(self, texts: pa.Table) -> Outputs:
        """Send the number of rows of each text: most rows may have the same, as the empty one."""
        texts = texts.select([*ROW, *TEXT])
        reply_to = self._by(texts.slice(0, 1), KEY)
        counts = texts.group_by([*TEXT], use_threads=False).aggregate([([], "count_all")])
        counts = counts.rename_columns([*TEXT, "rows"])
        counts = counts.append_column("reply_to", pa.array(reply_to.repeat(len(counts))))
        return {"counts": (counts, self._by(counts, TEXT))}

    def _finish(
        self,
        step: str,
        rows: pa.Table,
        representatives: np.ndarray,
        reason: str,
        dropped: pa.Table | None = None,
    ) -> Outputs:
        """Send the verdicts of a step, and the kept rows to the next step.

        Kept rows that the next step would find equal are compared here first. `dropped` are
        verdicts on rows that are no duplicates.
        """
        also = [] if dropped is None else [dropped]
        following = self._following(step)
        if following is None:
            reasons = np.full(len(rows), reason)
            removed = removed_rows(rows, representatives, reasons)
            return self._verdicts(step, pa.concat_tables([removed, *also]))
        removed = representatives != np.arange(len(rows))
        reasons = np.where(removed, reason, following.reason)
        representatives = compare_kept(rows, representatives, following.first)
        kept = kept_rows(rows, representatives)
        if following.output == "by_phash":
            kept = kept.filter(pc.invert(kept[OF_PARTS])).drop_columns([*SHA256, OF_PARTS])
        return {
            following.output: (kept, self._by(kept, following.partitioned_by)),
            **self._verdicts(
                step, pa.concat_tables([removed_rows(rows, representatives, reasons), *also])
            ),
        }

    def _following(self, step: str) -> Comparison | None:
        """Return the comparison of the next step, if that looks for equal rows."""
        place = self.steps.index(step) + 1
        return EQUAL.get(self.steps[place]) if place < len(self.steps) else None

    def _verdicts(self, step: str, verdicts: pa.Table) -> Outputs:
        """Send the verdicts of a step; those of the last step are final.

        What becomes of a row of an earlier corpus is of no interest.
        """
        verdicts = own_rows(verdicts)
        if step != self.steps[-1]:
            return {
                "unresolved": (verdicts, self._by(verdicts, KEPT_KEY)),
                **self._removed(verdicts),
            }
        return self._resolved(step, verdicts)

    def _resolved(self, step: str, verdicts: pa.Table) -> Outputs:
        """Send final verdicts: to be written, and to redirect those of earlier steps."""
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
    """Redirect the verdicts of a step whose representatives a later step removed."""

    tasks: DedupTasks
    step: str

    def __call__(self, tables: Tables) -> Outputs:
        """Redirect them by the final verdicts of all later steps."""
        if "unresolved" not in tables:
            return {}
        verdicts = tables["unresolved"]
        if "resolved" in tables:
            verdicts = _redirected(verdicts, tables["resolved"])
        return self.tasks._resolved(self.step, verdicts)


def _without_entries(rows: pa.Table) -> pa.Table:
    """Append an empty column ENTRIES to rows of an earlier corpus, which are not balanced."""
    return rows.append_column(ENTRIES, pa.array([b""] * len(rows), pa.binary()))


def _redirected(verdicts: pa.Table, resolved: pa.Table) -> pa.Table:
    """Replace representatives that were removed by their own representatives."""
    new = [f"new_{name}" for name in KEPT]
    resolved = resolved.select([*KEY, *KEPT]).rename_columns([*KEPT_KEY, *new])
    joined = verdicts.join(resolved, list(KEPT_KEY), use_threads=False)
    kept = {
        name: pc.coalesce(joined[newer], joined[name])
        for name, newer in zip(KEPT, new, strict=True)
    }
    columns = [kept.get(name, joined[name]) for name in REMOVED_ROWS.names]
    return pa.table(columns, schema=REMOVED_ROWS)
