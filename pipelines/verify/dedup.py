"""The dedup check of `--deep`: compare all rows of the corpus again, in this process.

The steps are those of `pipelines.stages.dedup`, without Beam and with exchange files in a local
folder. Memory holds one partition.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipelines.dedup.balance import PATH, balance_table
from pipelines.runtime.exchange import Slices, Tables, partitions_for, receive, send
from pipelines.runtime.sidecar import read_origin, read_table, sidecar_path
from pipelines.stages.dedup import (
    Dedup,
    EmbedRows,
    Steps,
    verdict_table,
    verdicts,
)
from pipelines.verify.faults import Fault
from pipelines.verify.local_exchange import LocalExchange, grouped
from pipelines.verify.look import Look
from schemas.store.storage import Storage


def duplicates_found_again(look: Look) -> Iterator[Fault]:
    """Run dedup again, and compare every stored verdict and count of repeated texts."""
    shards = range(len(look.sources))
    rows_of = look.stages["duplicates"].rows_of
    footers = [read_origin(look.store, sidecar_path(rows_of, shard)) for shard in shards]
    rows = sum(origin.counts.kept for origin in footers if origin)
    partitions = partitions_for(rows, len(shards))
    stage = look.stages["duplicates"]
    assert isinstance(stage, Dedup)
    tasks = stage.tasks(partitions, rows)
    steps = LocalSteps(tasks=tasks, store=Storage(look.exchange), corpus=look.store)
    for number, (group, tables) in enumerate(steps.received(shards)):
        found_again = verdicts(tables)
        for shard in group:
            expected = verdict_table(found_again, shard, stage.earlier)[0].to_pylist()
            yield from _differing_verdicts(look, shard, expected)
        if stage.config.balance and number == 0:
            made = balance_table(tables.get("totals"), stage.config.balance)
            if not made.equals(read_table(look.store, PATH)):
                yield Fault(PATH, "holds other entries or rows than counted again")


def _differing_verdicts(look: Look, shard: int, expected: list[dict[str, Any]]) -> Iterator[Fault]:
    path = sidecar_path("duplicates", shard)
    rows = {row["key"]: row for row in read_table(look.store, path).to_pylist()}
    for row in expected:
        stored = rows.pop(row["key"], {})
        for name, value in row.items():
            if stored.get(name) != value:
                what = f"{name} is {stored.get(name)!r}, compared again {value!r}"
                yield Fault(path, f"{row['key']}: {what}")
    yield from (Fault(path, f"{key}: dedup finds no such row") for key in rows)


@dataclass(frozen=True, kw_only=True)
class LocalSteps(LocalExchange, Steps):
    """The steps of dedup, each run at once in this process instead of by Beam."""

    corpus: Storage

    def run(self, shards: Sequence[int]) -> Iterator[tuple[Sequence[int], pa.Table]]:
        """Yield groups of shards, and the verdicts on the rows of each."""
        for group, tables in self.received(shards):
            yield group, verdicts(tables)

    def received(self, shards: Sequence[int]) -> Iterator[tuple[Sequence[int], Tables]]:
        """Yield groups of shards, and what is to be written of each."""
        count = self.tasks.partitions
        groups = [[n for n in shards if n % count == group] for group in range(count)]
        read: Slices = []
        for number, group in enumerate(groups):
            outputs = self.tasks.read(number, group, self.corpus)
            read += send(self.store, f"dedup-read-{number:05d}", outputs)
        found = grouped(part for some in self.results(read, groups) for part in some)
        for number, group in enumerate(groups):
            yield group, receive(self.store, found.get(number, []))

    def _embedded(self, groups: Any, *received: tuple[Any, str]) -> Any:
        task = EmbedRows(tasks=self.tasks, store=self.store, corpus=self.corpus)
        found = grouped(part for parts in self.select("embed", *received) for part in parts)
        made: Slices = []
        for number, group in enumerate(groups):
            made += task((number, {"shards": group, "slices": found.get(number, [])}))
        return made
