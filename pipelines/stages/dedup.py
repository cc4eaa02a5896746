"""dedup: find rows that are the same image, over the whole corpus, by exchanging keys and hashes.

The rows are those that `select` kept, so the best acceptable copy stays.

0. `contaminated:NAME`: the row has a prompt or an image of a benchmark. It goes no further.
1. `repeated_url`: the same key in two shards; the first shard's row is kept.
2. `text_repeats`: more rows have its text than `max_text_repeats`; none of them is kept.
3. `same_bytes`: equal sha256; the row of the smallest key is kept.
4. `near_duplicate`: pHashes within a Hamming distance, and colours within a distance in every
   cell of a grid. Rows are compared in the order of resolution, then key. A row is removed if it
   is like a row that was kept before it, which becomes its representative.
5. `semantic_duplicate`: the cosine of two CLIP embeddings of a cluster is 1 - eps or more, in the
   same order.
6. `balance`, `balance_unmatched`: a share of the rows with a common entry of a list stays.
7. `max_per_text`, `max_per_image`, `max_per_host`, `max_per_author`, `quota`: caps, one after the
   other.

Samples of subsets other than t2i are duplicates (same_bytes) only of samples with the same texts
and the same images: an image may be of many samples, and an edited one is much like its source.

A later step may remove the representative of a row as a duplicate. The verdict on the row is then
redirected to the representative's own, so `kept_key` never names a duplicate. A row that a cap or
`text_repeats` drops is its own representative.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dedup.balance import (
    BALANCE,
    UNMATCHED,
    BalanceTasks,
    balance_table,
    write_balance,
)
from pipelines.dedup.benchmark_files import benchmark_fingerprint
from pipelines.dedup.caps import Cap, CapTasks, caps_of
from pipelines.dedup.contamination import reason_of
from pipelines.dedup.rows import (
    KEPT_KEY,
    KEY,
    NEAR_DUPLICATE,
    REMOVED_ROWS,
    REPEATED_URL,
    REPEATS,
    ROW,
    SAME_BYTES,
    SEMANTIC_DUPLICATE,
    TEXT_REPEATS,
    numbers,
)
from pipelines.dedup.tasks import DedupTasks
from pipelines.dedup.words import hexed
from pipelines.runtime.exchange import (
    Exchange,
    Slices,
    Tables,
    assign_groups,
    receive,
    send,
)
from pipelines.runtime.sidecar import (
    Counts,
    Origin,
    column,
    make_origin,
    sidecar_path,
    write_sidecar,
)
from pipelines.runtime.stage import SidecarStage
from pipelines.sources.shard_subsets import ShardSubsets
from schemas.fingerprint import fingerprint
from schemas.list_config import BalanceConfig
from schemas.recipe import DedupConfig, Recipe
from schemas.store.storage import Storage
from schemas.tables import DUPLICATES


@dataclass(frozen=True, kw_only=True)
class Dedup(SidecarStage):
    """Build the Beam graph: shard numbers in, one `duplicates/` side-car a shard out."""

    folder: ClassVar[str] = "duplicates"
    reads: ClassVar[tuple[str, ...]] = ("sources", "raw", "signals")
    decides: ClassVar[tuple[str, ...]] = ("dedup", "sources")
    version: ClassVar[int] = 4  # 4: samples of several parts
    judges: ClassVar[bool] = True

    config: DedupConfig
    caps: tuple[Cap, ...] = ()
    benchmarks: tuple[str, ...] = ()  # fingerprints of their files
    subsets: ShardSubsets = field(default_factory=ShardSubsets)
    rows_of: str = "selection"

    @classmethod
    def from_recipe(cls, recipe: Recipe, rows_of: str) -> "Dedup":
        """Return the stage as a recipe has it."""
        config, decode = recipe.dedup, recipe.decode
        benchmarks = (benchmark_fingerprint(each, config, decode) for each in config.benchmarks)
        return cls(
            config=config,
            caps=caps_of(recipe),
            benchmarks=tuple(benchmarks),
            subsets=ShardSubsets.from_recipe(recipe),
            rows_of=rows_of,
        )

    @property
    def inputs(self) -> tuple[str, ...]:
        """Name the folders that its output depends on; on scores, if it reads embeddings."""
        embedded = ("scores",) if self.config.semantic else ()
        return tuple(dict.fromkeys((*super().inputs, *embedded)))

    def schema(self) -> pa.Schema:
        """Return the schema of the side-cars."""
        return DUPLICATES

    def fingerprint(self, inputs: Mapping[str, Sequence[Origin]]) -> str:
        """Return the fingerprint of a fresh side-car: of the inputs of all shards."""
        caps = [asdict(cap) for cap in self.caps]
        of_parts = [source for source, _ in self.subsets.by_source]
        decides = [self.config.decides(), caps, self.benchmarks, of_parts]
        return fingerprint(self.name, self.version, *decides, self.contents(inputs))

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons that it may drop a row for."""
        config, balance = self.config, self.config.balance
        used = {
            REPEATED_URL: True,
            TEXT_REPEATS: config.max_text_repeats is not None,
            SAME_BYTES: config.same_bytes,
            NEAR_DUPLICATE: config.phash_distance is not None,
            SEMANTIC_DUPLICATE: config.semantic is not None,
            BALANCE: balance is not None,
            UNMATCHED: balance is not None and balance.unmatched == "drop",
            **{reason_of(benchmark): True for benchmark in config.benchmarks},
            **{cap.reason: True for cap in self.caps},
        }
        return tuple(reason for reason, is_used in used.items() if is_used)

    @property
    def earlier(self) -> tuple[str, ...]:
        """The names of the earlier corpora."""
        return tuple(each.name for each in self.config.against)

    def tasks(self, partitions: int, rows: int) -> DedupTasks:
        """Return the tasks of the stage, for so many rows in so many partitions."""
        return DedupTasks(
            config=self.config,
            caps=self.caps,
            partitions=partitions,
            rows_of=self.rows_of,
            rows=rows,
            subsets=self.subsets,
        )

    def writer(self, store: Storage, fingerprint: str) -> "WriteDuplicates":
        """Return what writes the side-cars."""
        return WriteDuplicates(
            stage=self.name,
            store=store,
            fingerprint=fingerprint,
            earlier=self.earlier,
            balance=self.config.balance,
        )

    def expand(
        self, shards: Any, store: Storage, fingerprint: str, partitions: int = 1, rows: int = 0
    ) -> Any:
        """Build the graph; returns the numbers of the shards written.

        `partitions` is the number of tasks of each step; it changes no result. `rows` is the number
        of rows; only semantic duplicates depend on it.
        """
        import apache_beam as beam

        from pipelines.runtime.map_shards import Concurrently

        tasks = self.tasks(partitions, rows)
        read_rows = ReadRows(tasks=tasks, store=store)
        groups = assign_groups(shards, partitions)
        read = (
            groups
            | "ReadTogether" >> beam.GroupByKey()
            | "Read" >> beam.ParDo(Concurrently(read_rows)).with_output_types(Slices)
        )
        write = self.writer(store, fingerprint)
        return (
            {"shards": groups, "slices": Steps(tasks=tasks, store=store).expand(read, groups)}
            | "WriteTogether" >> beam.CoGroupByKey()
            | "Write" >> beam.ParDo(Concurrently(write)).with_output_types(list[int])
            | "Written" >> beam.FlatMap(iter).with_output_types(int)
        )


@dataclass(frozen=True, kw_only=True)
class ReadRows:
    """Read the rows of a group of shards, and send them."""

    tasks: DedupTasks
    store: Storage

    def __call__(self, group: tuple[int, Iterable[int]]) -> Slices:
        """Write the group's exchange file."""
        number, shards = group
        outputs = self.tasks.read(number, sorted(shards), self.store)
        return send(self.store, f"dedup-read-{number:05d}", outputs)


@dataclass(frozen=True, kw_only=True)
class EmbedRows:
    """Read the embeddings of a group of shards, and send them by cluster."""

    tasks: DedupTasks
    store: Storage  # of the exchange files
    corpus: Storage | None = None  # that the shards lie in, if another

    def __call__(self, group: tuple[int, Mapping[str, Iterable[Any]]]) -> Slices:
        """Write the group's exchange file."""
        number, found = group
        tables = receive(self.store, found["slices"])
        outputs = self.tasks.embed(
            number, sorted(found["shards"]), tables, self.corpus or self.store
        )
        return send(self.store, f"dedup-embed-{number:05d}", outputs)


@dataclass(frozen=True, kw_only=True)
class Steps(Exchange):
    """Build the graph of exchanges, from rows to verdicts."""

    tasks: DedupTasks
    prefix: ClassVar[str] = "dedup"

    def expand(self, read: Any, groups: Any) -> Any:
        """Return (group of shards, Slice): verdicts on removed rows, and repeats of texts.

        `groups` has (group, shard).
        """
        import apache_beam as beam

        return self.results(read, groups) | "AllResults" >> beam.Flatten()

    def results(self, read: Any, groups: Any) -> tuple[Any, ...]:
        """Return the same as `expand`, in a collection an output."""
        steps = self.tasks.steps
        urls = self._run("urls", (read, "by_url"))
        totals = self._run("count", (urls, "counts"))
        texts = last = self._run("texts", (urls, "by_key"), (totals, "totals"))
        sent = {"urls": urls, "texts": texts}
        if "bytes" in steps:
            sent["bytes"] = last = self._run("bytes", (last, "by_bytes"))
        if "near" in steps:
            # Equal looks are removed first, so that a popular look is compared once.
            sent["equal"] = equal = self._run("equal", (last, "by_phash"))
            bands = self._run("bands", (equal, "by_band"))
            labels = self._run("join", (bands, "links"))
            alike = self._run("gather", (equal, "distinct"), (labels, "labels"))
            sent["near"] = self._run("near", (alike, "by_cluster"))
        if "semantic" in steps:
            centroids = self._run("centroids", (read, "sample"))
            removed = [(verdicts, "removed") for verdicts in (read, *sent.values())]
            embedded = self._embedded(groups, (centroids, "centroids"), *removed)
            sent["semantic"] = self._run("semantic", (embedded, "by_cluster"))
        # From the last step back, so that a verdict is redirected once, to a row that is kept.
        *earlier, last_step = steps
        resolved = [sent[last_step]]
        for step in reversed(earlier):
            later = [(verdicts, "resolved") for verdicts in resolved]
            resolved.append(self._run(f"resolve_{step}", (sent[step], "unresolved"), *later))
        left = [(urls, "capped"), *((verdicts, "resolved") for verdicts in resolved)]
        balanced, drawn, totals = self._balance(left)
        capped = self._caps(balanced)
        removed = (read, *resolved, *drawn, *capped)
        written = [(verdicts, "verdicts") for verdicts in removed]
        return self.select("write", *written, (texts, "repeats"), *totals)

    def _balance(
        self, left: Sequence[tuple[Any, str]]
    ) -> tuple[list[tuple[Any, str]], list[Any], list[tuple[Any, str]]]:
        """Return what a balance leaves, the tasks with its verdicts, and the counts of entries."""
        if (config := self.tasks.config.balance) is None:
            return [*left], [], []
        tasks = BalanceTasks(config=config, partitions=self.tasks.partitions)
        offered = self._run("balance_offer", *left, function=tasks.offer)
        totals = self._run("balance_total", (offered, "counts"), function=tasks.total)
        drawn = self._run(
            "balance_draw", (offered, "rows"), (totals, "common"), function=tasks.draw
        )
        return [(drawn, "rows")], [drawn], [(totals, "totals")]

    def _embedded(self, groups: Any, *received: tuple[Any, str]) -> Any:
        """Run the task that reads the embeddings of each group of shards."""
        import apache_beam as beam

        from pipelines.runtime.map_shards import Concurrently

        task = EmbedRows(tasks=self.tasks, store=self.store)
        slices = self.select("embed", *received) | "EmbedSlices" >> beam.Flatten()
        return (
            {"shards": groups, "slices": slices}
            | "EmbedTogether" >> beam.CoGroupByKey()
            | "Embed" >> beam.ParDo(Concurrently(task)).with_output_types(Slices)
        )

    def _caps(self, left: list[tuple[Any, str]]) -> list[Any]:
        """Run the caps one after the other on the rows that are left."""
        verdicts: list[Any] = []
        for number, cap in enumerate(self.tasks.caps):
            tasks = CapTasks(cap=cap, partitions=self.tasks.partitions)

            run = partial(self._run_cap, tasks, number)
            offered = run("offer", *left)
            lasts = run("last", (offered, "counts"))
            edge = run("edge", (offered, "rows"), (lasts, "lasts"))
            cut = run("cut", (edge, "edge"))
            left = [(edge, "rows"), (cut, "over")]
            verdicts += [edge, cut]
        return verdicts

    def _run_cap(self, tasks: CapTasks, number: int, name: str, *received: Any) -> Any:
        return self._run(f"{name}_{number}", *received, function=getattr(tasks, name))

    def _run(self, name: str, *received: tuple[Any, str], function: Any = None) -> Any:
        """Run a task on outputs of earlier tasks: the one of its name, or a function."""
        _, _, step = name.partition("resolve_")
        if function is None:
            function = self.tasks.resolve(step) if step else getattr(self.tasks, name)
        return self.run_task(name, function, *received)


@dataclass(frozen=True, kw_only=True)
class WriteDuplicates:
    """Write the side-cars of a group of shards."""

    stage: str
    store: Storage
    fingerprint: str
    earlier: tuple[str, ...] = ()  # names of the earlier corpora
    balance: BalanceConfig | None = None

    def __call__(self, group: tuple[int, Mapping[str, Iterable[Any]]]) -> list[int]:
        """Write `duplicates/NNNNN.parquet` of each shard; returns their numbers.

        The first group also writes the counts of the entries of a balance.
        """
        number, found = group
        tables = receive(self.store, found["slices"])
        rows = verdicts(tables)
        if self.balance and number == 0:
            table = balance_table(tables.get("totals"), self.balance)
            write_balance(self.store, self.fingerprint, table, self.balance)
        shards = sorted(found["shards"])
        for shard in shards:
            self._write(shard, rows)
        return shards

    def _write(self, shard: int, rows: pa.Table) -> None:
        table, counts = verdict_table(rows, shard, self.earlier)
        origin = make_origin(self.stage, self.fingerprint, table, counts)
        write_sidecar(self.store, sidecar_path("duplicates", shard), table, origin)


def verdict_table(
    rows: pa.Table, shard: int, earlier: Sequence[str] = ()
) -> tuple[pa.Table, Counts]:
    """Select the rows of a shard from the result of `verdicts`: its side-car, and its counts.

    `earlier` names the earlier corpora.
    """
    rows = rows.filter(pc.field("shard") == shard)
    key, kept = (pa.array(hexed(numbers(rows, names)), pa.string()) for names in (KEY, KEPT_KEY))
    apart = np.bitwise_count(rows["phash"].to_numpy() ^ rows["kept_phash"].to_numpy())
    distance = pa.array(apart, pa.int8())
    corpora = ["" if n >= 0 else earlier[-1 - n] for n in column(rows, "kept_shard")]
    kept_in = pa.array(corpora, pa.string())
    columns = [key, kept, kept_in, rows["reason"], distance, rows["repeats"], rows["matched"]]
    table = pa.table(columns, schema=DUPLICATES)
    dropped = Counter(filter(None, column(rows, "reason")))
    kept_rows = len(rows) - dropped.total()
    return table, Counts(rows_in=len(rows), kept=kept_rows, dropped=dropped)


def verdicts(tables: Tables) -> pa.Table:
    """Join the counts of texts with the verdicts.

    A repeated URL and a contaminated row have a verdict only.

    A row without a verdict is kept, so it is its own representative.

    Returns:
        Columns of REMOVED_ROWS, and `repeats`, in the order of shards and keys.
    """
    repeats = tables.get("repeats", REPEATS.empty_table())
    removed = tables.get("verdicts", REMOVED_ROWS.empty_table())
    rows = repeats.join(removed, [*ROW], join_type="full outer", use_threads=False)
    rows = rows.sort_by([(name, "ascending") for name in ROW])
    blank = {
        "reason": "",
        "matched": "",
        "phash": 0,
        "kept_phash": 0,
        "kept_shard": 0,
        "repeats": 0,
    }
    own = {kept: rows[key] for kept, key in zip(KEPT_KEY, KEY, strict=True)}
    filled = {
        name: pc.coalesce(rows[name], pa.scalar(value, rows[name].type))
        for name, value in blank.items()
    }
    filled |= {name: pc.coalesce(rows[name], key) for name, key in own.items()}
    return pa.Table.from_pydict({**{name: rows[name] for name in ROW}, **filled})
