"""exchange: bring rows that belong together to one task, through files; Beam moves where they lie.

A task writes the rows it sends as one file, cut into a slice for each partition that gets some, and
gives Beam (partition, Slice); grouped by partition, they tell a later task what to read. So a
shuffle grows with tasks times partitions, not with rows or what rows hold, and any runner, the
in-process one that keeps its shuffles in memory included, holds a bounded amount. Every row is
written once and read once, in runs: nobody reads a file for the few rows in it that it wants.

The files are named by who writes them and rewritten whole, so a task that a runner repeats
publishes the same bytes again. They are removed when the job is over.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipelines.runtime.ownership import exchange_name, exchanged
from schemas.store.storage import Storage

FOLDER = "exchange"
REMOVED_AT_ONCE = 32  # files: a request each, far away on an object store


class Slice(NamedTuple):
    """Rows that lie in an exchange file: an Arrow stream of its own."""

    output: str  # what they are, of all that their task sends
    file: str  # relative to the corpus
    offset: int  # bytes
    length: int  # bytes


Sent = list[tuple[int, Slice]]  # by a task: to which partition, and where it lies
Tables = Mapping[str, pa.Table]  # by output
Sending = Mapping[str, tuple[pa.Table, np.ndarray]]  # by output: rows, the partition of each


@contextmanager
def exchange_folder(store: Storage) -> Iterator[None]:
    """Start the body with no exchange file, and leave none."""
    _clear(store)
    try:
        yield
    finally:
        _clear(store)


def partition_of(identity: Sequence[np.ndarray], partitions: int) -> np.ndarray:
    """Return the partition of each row, decided by a hash of its uint64 words."""
    hashed = np.zeros(len(identity[0]), np.uint64)
    for word in identity:
        hashed = _mixed(hashed ^ word)
    return (hashed % np.uint64(partitions)).astype(np.int64)


def send(store: Storage, sender: str, sending: Sending) -> Sent:
    """Write what a task sends, a file an output."""
    return [
        sent
        for output, (table, partitions) in sending.items()
        if table.num_rows
        for sent in _write(store, sender, output, table, partitions)
    ]


def receive(store: Storage, slices: Iterable[Slice]) -> Tables:
    """Read slices, by output; in an order that does not depend on how they came."""
    found = sorted(slices)
    bodies = store.read_ranges([(part.file, part.offset, part.length) for part in found])
    tables: dict[str, list[pa.Table]] = {}
    for part, body in zip(found, bodies, strict=True):
        tables.setdefault(part.output, []).append(pa.ipc.open_stream(body).read_all())
    return {output: pa.concat_tables(parts) for output, parts in tables.items()}


@dataclass(frozen=True, kw_only=True)
class Task:
    """Reads what was sent to one partition, and sends rows on."""

    name: str
    store: Storage
    function: Callable[[Tables], Sending]  # an output that nobody sent is absent

    def __call__(self, group: tuple[int, Iterable[Slice]]) -> Sent:
        """Run the function on one partition."""
        partition, slices = group
        sending = self.function(receive(self.store, slices))
        return send(self.store, f"{self.name}-{partition:05d}", sending)


def dealt(shards: Any, groups: int) -> Any:
    """Deal shard numbers out to groups: a collection of (group, shard)."""
    import apache_beam as beam

    return shards | "Deal" >> beam.Map(_dealt, groups).with_output_types(tuple[int, int])


def taken(sent: Any, label: str, *outputs: str) -> Any:
    """Take some outputs of what tasks sent: a collection of (partition, Slice)."""
    import apache_beam as beam

    return sent | label >> beam.FlatMap(_taken, outputs).with_output_types(tuple[int, Slice])


def run_tasks(received: Sequence[Any], task: Task) -> Any:
    """Build the graph: run a task on each partition that anything was sent to.

    Args:
        received: collections of (partition, Slice).
        task: what to run.

    Returns:
        A collection of what each task sent.
    """
    import apache_beam as beam

    from pipelines.runtime.map_shards import Concurrently

    first, *others = received
    return (
        (received | f"All_{task.name}" >> beam.Flatten() if others else first)
        | f"Meet_{task.name}" >> beam.GroupByKey()
        | task.name >> beam.ParDo(Concurrently(task)).with_output_types(Sent)
    )


def _write(
    store: Storage, sender: str, output: str, table: pa.Table, partitions: np.ndarray
) -> Iterator[tuple[int, Slice]]:
    """Publish rows, cut by partition and in their order; yield where each partition's lie."""
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


def _taken(sent: Sent, outputs: Sequence[str]) -> Sent:
    return [(partition, part) for partition, part in sent if part.output in outputs]


def _dealt(shard: int, groups: int) -> tuple[int, int]:
    return shard % groups, shard


def _clear(store: Storage) -> None:
    with ThreadPoolExecutor(REMOVED_AT_ONCE) as threads:
        names = exchanged(store.listing(FOLDER))
        list(threads.map(store.remove, [f"{FOLDER}/{name}" for name in names]))


def _mixed(words: np.ndarray) -> np.ndarray:
    """Scramble 64-bit words: the finalizer of SplitMix64 (Steele, Lea, Flood 2014)."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
