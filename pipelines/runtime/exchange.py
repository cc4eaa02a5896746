"""exchange: shuffle rows through files; Beam moves only their positions.

A task writes the rows of an output to one file, sorted by partition. It returns one
(partition, Slice) for each partition. Beam groups the slices by partition, and the next task reads
its slices. So a shuffle of Beam grows with tasks times partitions, not with the rows, and also the
in-process runner, which keeps its shuffles in memory, holds a bounded amount. Each row is written
once, and read once by each step that receives the output.

A file is named after the task that writes it, and is written whole. So a task that a runner repeats
writes the same bytes again. The files are removed at the end of the job.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa

from pipelines.runtime.ownership import exchange_name, exchanged
from schemas.store.storage import Storage

FOLDER = "exchange"
ROWS_A_PARTITION = 250_000  # at about 150 bytes each
REMOVED_AT_ONCE = 32  # files: a request each, far away on an object store


class Slice(NamedTuple):
    """The position of some rows in an exchange file; they are an Arrow stream."""

    output: str  # name of the task's output
    file: str  # relative to the corpus
    offset: int  # bytes
    length: int  # bytes


Slices = list[tuple[int, Slice]]  # (partition, slice)
Tables = Mapping[str, pa.Table]  # by output: the rows that a task receives
Outputs = Mapping[str, tuple[pa.Table, np.ndarray]]  # by output: rows, and the partition of each


@contextmanager
def exchange_folder(store: Storage) -> Iterator[None]:
    """Remove all exchange files before and after the body."""
    _clear(store)
    try:
        yield
    finally:
        _clear(store)


def partitions_for(rows: int, shards: int) -> int:
    """Return the number of tasks of each step: none of them has no shard to read."""
    return min(shards, -(-rows // ROWS_A_PARTITION)) or 1


def partition_of(identity: Sequence[np.ndarray], partitions: int) -> np.ndarray:
    """Return the partition of each row: a hash of its uint64 words."""
    hashed = np.zeros(len(identity[0]), np.uint64)
    for word in identity:
        hashed = scramble(hashed ^ word)
    return (hashed % np.uint64(partitions)).astype(np.int64)


def send(store: Storage, sender: str, outputs: Outputs) -> Slices:
    """Write the outputs of a task, each to a file."""
    return [
        written
        for output, (table, partitions) in outputs.items()
        if table.num_rows
        for written in _write(store, sender, output, table, partitions)
    ]


def receive(store: Storage, slices: Iterable[Slice]) -> Tables:
    """Read slices, by output. The order of rows does not depend on the order of slices."""
    found = sorted(slices)
    bodies = store.read_ranges([(part.file, part.offset, part.length) for part in found])
    tables: dict[str, list[pa.Table]] = {}
    for part, body in zip(found, bodies, strict=True):
        tables.setdefault(part.output, []).append(pa.ipc.open_stream(body).read_all())
    return {output: pa.concat_tables(parts) for output, parts in tables.items()}


@dataclass(frozen=True, kw_only=True)
class Task:
    """Run a function on the rows of a partition, and send its outputs."""

    name: str
    store: Storage
    function: Callable[[Tables], Outputs]  # an output that no task sent is absent

    def __call__(self, group: tuple[int, Iterable[Slice]]) -> Slices:
        """Run the function on one partition."""
        partition, slices = group
        outputs = self.function(receive(self.store, slices))
        return send(self.store, f"{self.name}-{partition:05d}", outputs)


def assign_groups(shards: Any, groups: int) -> Any:
    """Assign each shard number to a group: a collection of (group, shard)."""
    import apache_beam as beam

    assign = beam.Map(_with_group, groups).with_output_types(tuple[int, int])
    return shards | "AssignGroups" >> assign


def select_outputs(slices: Any, label: str, *outputs: str) -> Any:
    """Select some outputs of tasks: a collection of (partition, Slice)."""
    import apache_beam as beam

    return slices | label >> beam.FlatMap(_of_outputs, outputs).with_output_types(tuple[int, Slice])


def run_tasks(received: Sequence[Any], task: Task) -> Any:
    """Build the graph: run a task on each partition that has slices.

    Args:
        received: collections of (partition, Slice).
        task: runs once a partition.

    Returns:
        A collection of Slices, one element a partition.
    """
    import apache_beam as beam

    from pipelines.runtime.map_shards import Concurrently

    first, *others = received
    return (
        (received | f"All_{task.name}" >> beam.Flatten() if others else first)
        | f"Group_{task.name}" >> beam.GroupByKey()
        | task.name >> beam.ParDo(Concurrently(task)).with_output_types(Slices)
    )


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """Runs the tasks of a graph that consists of exchanges alone, by Beam.

    `verify` runs the same graphs without Beam; see `pipelines.verify.local_exchange`.
    """

    store: Storage
    prefix: ClassVar[str]  # of the names of its tasks

    def select(self, name: str, *received: tuple[Any, str]) -> tuple[Any, ...]:
        """Select an output of each of some tasks, for the task of a name."""
        return tuple(
            select_outputs(slices, f"{name}_{number}_{output}", output)
            for number, (slices, output) in enumerate(received)
        )

    def run_task(
        self, name: str, function: Callable[[Tables], Outputs], *received: tuple[Any, str]
    ) -> Any:
        """Run a function on the partitions of some outputs."""
        task = Task(name=f"{self.prefix}-{name}", store=self.store, function=function)
        return run_tasks(self.select(name, *received), task)


def _write(
    store: Storage, sender: str, output: str, table: pa.Table, partitions: np.ndarray
) -> Iterator[tuple[int, Slice]]:
    """Write rows to a file, sorted by partition; yield the slice of each partition."""
    path = f"{FOLDER}/{exchange_name(f'{sender}-{output}')}"
    order = np.argsort(partitions, kind="stable")
    table, partitions = table.take(order), partitions[order]
    cuts = [0, *(np.flatnonzero(np.diff(partitions)) + 1).tolist(), len(partitions)]
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    sink = pa.BufferOutputStream()
    for start, stop in pairwise(cuts):
        offset = sink.tell()
        with pa.ipc.new_stream(sink, table.schema, options=options) as stream:
            stream.write_table(table.slice(start, stop - start))
        yield int(partitions[start]), Slice(output, path, offset, sink.tell() - offset)
    store.commit_bytes(path, sink.getvalue().to_pybytes())


def _of_outputs(slices: Slices, outputs: Sequence[str]) -> Slices:
    return [(partition, part) for partition, part in slices if part.output in outputs]


def _with_group(shard: int, groups: int) -> tuple[int, int]:
    return shard % groups, shard


def _clear(store: Storage) -> None:
    with ThreadPoolExecutor(REMOVED_AT_ONCE) as threads:
        names = exchanged(store.listing(FOLDER))
        list(threads.map(store.remove, [f"{FOLDER}/{name}" for name in names]))


def scramble(words: np.ndarray) -> np.ndarray:
    """Scramble 64-bit words: the finalizer of SplitMix64 (Steele, Lea, Flood 2014)."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
