"""dedup: find rows that are the same image, over the whole corpus, by exchanging keys and hashes.

1. `repeated_url`: the same key in two shards; the first shard's row stays.
2. `same_bytes`: equal sha256; the smallest key stays.
3. `near_duplicate`: pHashes within a Hamming distance, and colours within a distance in every
   cell of a grid. Rows are ranked by resolution, then key; going down the ranks, a row goes if
   a row that stays is like it, so every row that goes is like the very row that stands for it.

A row that a later step removes may stand for rows that were removed before. Their verdicts are
redirected to the row that stands for it, so `kept_key` always names a row that stays.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dedup.rows import GONE, KEPT_KEY, KEY, REPEATS, ROW, numbers
from pipelines.dedup.tasks import DedupTasks
from pipelines.dedup.words import hexed
from pipelines.runtime.exchange import Sent, Tables, Task, dealt, receive, run_tasks, send, taken
from pipelines.runtime.sidecar import (
    Counts,
    Origin,
    column,
    make_origin,
    sidecar_path,
    write_sidecar,
)
from pipelines.runtime.stage import SidecarStage
from schemas.fingerprint import fingerprint
from schemas.recipe import DedupConfig, Recipe
from schemas.store.storage import Storage
from schemas.tables import DUPLICATES

ROWS_A_PARTITION = 250_000  # at about 150 bytes each


@dataclass(frozen=True, kw_only=True)
class Dedup(SidecarStage):
    """The Beam part: shard numbers in, one `duplicates/` side-car a shard out."""

    folder: ClassVar[str] = "duplicates"
    reads: ClassVar[tuple[str, ...]] = ("sources", "raw", "signals")
    decides: ClassVar[tuple[str, ...]] = ("dedup",)
    judges: ClassVar[bool] = True

    config: DedupConfig
    rows_of: str = "signals"

    @classmethod
    def from_recipe(cls, recipe: Recipe, rows_of: str) -> "Dedup":
        """Return the stage as a recipe has it."""
        return cls(config=recipe.dedup, rows_of=rows_of)

    def schema(self) -> pa.Schema:
        """Return the schema of the side-cars."""
        return DUPLICATES

    def fingerprint(self, inputs: Mapping[str, Sequence[Origin]]) -> str:
        """Return what a fresh side-car carries: dedup looks at the whole corpus at once."""
        config = self.config.model_dump(mode="json")
        return fingerprint(self.name, self.version, config, self.contents(inputs))

    def expand(self, shards: Any, store: Storage, fingerprint: str, partitions: int = 1) -> Any:
        """Build the graph; returns the numbers of the shards written.

        `partitions` says into how many tasks each step is cut; it changes no result.
        """
        import apache_beam as beam

        from pipelines.runtime.map_shards import Concurrently

        tasks = DedupTasks(config=self.config, partitions=partitions, rows_of=self.rows_of)
        groups = dealt(shards, partitions)
        read = (
            groups
            | "ReadTogether" >> beam.GroupByKey()
            | "Read"
            >> beam.ParDo(Concurrently(ReadRows(tasks=tasks, store=store))).with_output_types(Sent)
        )
        write = WriteDuplicates(stage=self.name, store=store, fingerprint=fingerprint)
        return (
            {"shards": groups, "slices": Steps(tasks=tasks, store=store).expand(read)}
            | "WriteTogether" >> beam.CoGroupByKey()
            | "Write" >> beam.ParDo(Concurrently(write)).with_output_types(list[int])
            | "Written" >> beam.FlatMap(iter).with_output_types(int)
        )


@dataclass(frozen=True, kw_only=True)
class ReadRows:
    """Send the rows of a group of shards."""

    tasks: DedupTasks
    store: Storage

    def __call__(self, group: tuple[int, Iterable[int]]) -> Sent:
        """Write the group's exchange file."""
        number, shards = group
        sending = self.tasks.read(sorted(shards), self.store)
        return send(self.store, f"dedup-read-{number:05d}", sending)


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The steps from rows to verdicts, as a graph of exchanges."""

    tasks: DedupTasks
    store: Storage

    def expand(self, read: Any) -> Any:
        """Return (group of shards, Slice): the verdicts on rows that go, and repeats of texts."""
        import apache_beam as beam

        return self.sent(read) | "AllWritten" >> beam.Flatten()

    def sent(self, read: Any) -> tuple[Any, ...]:
        """Return those, in collections of one output each."""
        steps = self.tasks.steps
        urls = last = self._run("urls", (read, "by_url"))
        totals = self._run("count", (urls, "counts"))
        texts = self._run("repeat", (urls, "texts"), (totals, "totals"))
        sent = {"urls": urls}
        if "bytes" in steps:
            sent["bytes"] = last = self._run("bytes", (last, "by_bytes"))
        if "near" in steps:
            # Equal looks are settled first: a popular one is a single row in the comparison.
            sent["equal"] = equal = self._run("equal", (last, "by_phash"))
            bands = self._run("bands", (equal, "by_band"))
            labels = self._run("join", (bands, "links"))
            alike = self._run("gather", (equal, "unlike"), (labels, "labels"))
            sent["near"] = self._run("near", (alike, "by_cluster"))
        # From the last step back, so that a verdict is redirected once, to a row that stays.
        *earlier, last_step = steps
        resolved = [sent[last_step]]
        for step in reversed(earlier):
            later = [(verdicts, "resolved") for verdicts in resolved]
            resolved.append(self._run(f"resolve_{step}", (sent[step], "unresolved"), *later))
        written = [(verdicts, "verdicts") for verdicts in resolved]
        return self._taken("write", *written, (texts, "repeats"))

    def _run(self, name: str, *received: tuple[Any, str]) -> Any:
        """Run a task on outputs of earlier ones."""
        return run_tasks(self._taken(name, *received), self._task(name))

    def _task(self, name: str) -> Task:
        _, _, step = name.partition("resolve_")
        function = self.tasks.resolve(step) if step else getattr(self.tasks, name)
        return Task(name=f"dedup-{name}", store=self.store, function=function)

    def _taken(self, name: str, *received: tuple[Any, str]) -> tuple[Any, ...]:
        return tuple(
            taken(sent, f"{name}_{number}_{output}", output)
            for number, (sent, output) in enumerate(received)
        )


@dataclass(frozen=True, kw_only=True)
class WriteDuplicates:
    """Publish the side-cars of a group of shards; a row nobody stands for stands for itself."""

    stage: str
    store: Storage
    fingerprint: str

    def __call__(self, group: tuple[int, Mapping[str, Iterable[Any]]]) -> list[int]:
        """Write `duplicates/NNNNN.parquet` of each shard; returns their numbers."""
        _, found = group
        tables = receive(self.store, found["slices"])
        rows = verdicts(tables)
        shards = sorted(found["shards"])
        for shard in shards:
            self._write(shard, rows)
        return shards

    def _write(self, shard: int, rows: pa.Table) -> None:
        table, counts = verdict_table(rows, shard)
        origin = make_origin(self.stage, self.fingerprint, table, counts)
        write_sidecar(self.store, sidecar_path("duplicates", shard), table, origin)


def verdict_table(rows: pa.Table, shard: int) -> tuple[pa.Table, Counts]:
    """Return the side-car of a shard, of what `verdicts` says of many, and its counts."""
    rows = rows.filter(pc.field("shard") == shard)
    key, kept = (pa.array(hexed(numbers(rows, names)), pa.string()) for names in (KEY, KEPT_KEY))
    apart = np.bitwise_count(rows["phash"].to_numpy() ^ rows["kept_phash"].to_numpy())
    distance = pa.array(apart, pa.int8())
    table = pa.table([key, kept, rows["reason"], distance, rows["repeats"]], schema=DUPLICATES)
    dropped = Counter(filter(None, column(rows, "reason")))
    kept_rows = len(rows) - dropped.total()
    return table, Counts(rows_in=len(rows), kept=kept_rows, dropped=dropped)


def verdicts(tables: Tables) -> pa.Table:
    """Join rows whose text was counted with verdicts; a repeated URL has a verdict only.

    Returns:
        Columns of GONE, and `repeats`, in the order of shards and keys.
    """
    repeats = tables.get("repeats", REPEATS.empty_table())
    gone = tables.get("verdicts", GONE.empty_table())
    rows = repeats.join(gone, [*ROW], join_type="full outer", use_threads=False)
    rows = rows.sort_by([(name, "ascending") for name in ROW])
    stays = {"reason": "", "phash": 0, "kept_phash": 0, "repeats": 0}
    own = {kept: rows[key] for kept, key in zip(KEPT_KEY, KEY, strict=True)}
    filled = {
        name: pc.coalesce(rows[name], pa.scalar(value, rows[name].type))
        for name, value in stays.items()
    }
    filled |= {name: pc.coalesce(rows[name], key) for name, key in own.items()}
    return pa.Table.from_pydict({**{name: rows[name] for name in ROW}, **filled})
