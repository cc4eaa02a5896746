"""Checks of the list of held-out samples: it is drawn again from the side-cars, and compared."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipelines.runtime.exchange import receive
from pipelines.runtime.sidecar import Origin, read_table
from pipelines.shards.held_out import PATH, STAGE
from pipelines.shards.manifest import inputs_fingerprint
from pipelines.splits.graph import ReadLinks, Split
from pipelines.splits.tasks import SplitTasks
from pipelines.verify.faults import Fault
from pipelines.verify.local_exchange import LocalExchange
from pipelines.verify.look import Look, as_written, checked_origin, schema_faults
from schemas.store.storage import Storage
from schemas.tables import HELD_OUT


def held_out_sound(look: Look, origins: Mapping[str, Sequence[Origin]]) -> Iterator[Fault]:
    """Draw the held-out samples again, and compare the list; `origins` has all side-cars."""
    found = read_table(look.store, PATH)
    if wrong := schema_faults(found, HELD_OUT):
        yield from (Fault(PATH, what) for what in wrong)
        return
    yield from as_written(look.store, PATH, HELD_OUT)
    origin = checked_origin(look.store, PATH)
    if origin.stage != STAGE:
        yield Fault(PATH, f"its footer names stage {origin.stage!r}, expected {STAGE!r}")
    if origin.fingerprint != inputs_fingerprint(look.recipe, origins):
        yield Fault(PATH, "drawn from other side-cars or with another recipe")
    stored = {row["key"]: row for row in found.to_pylist()}
    for row in drawn_again(look, origins).to_pylist():
        if (before := stored.pop(row["key"], None)) != row:
            yield Fault(PATH, f"{row['key']}: is {before}, drawn again {row}")
    yield from (Fault(PATH, f"{key}: is not held out, drawn again") for key in stored)


def drawn_again(look: Look, origins: Mapping[str, Sequence[Origin]]) -> pa.Table:
    """Return the list of held-out samples, made in this process."""
    *_, rows_of = look.stages
    samples = sum(origin.counts.kept for origin in origins[rows_of])
    shards = range(len(look.sources))
    tasks = SplitTasks.of(look.recipe, rows_of, samples, len(shards))
    split = LocalSplit(store=Storage(look.exchange), tasks=tasks)
    read_links = ReadLinks(tasks=tasks, store=split.store, corpus=look.store)
    read = [
        part
        for group in range(tasks.partitions)
        for part in read_links((group, [n for n in shards if n % tasks.partitions == group]))
    ]
    [held] = split.held(read)
    tables = receive(split.store, [part for _, part in held])
    return tables.get("held", HELD_OUT.empty_table()).sort_by("key")


@dataclass(frozen=True, kw_only=True)
class LocalSplit(LocalExchange, Split):
    """The steps of the draw, each run at once in this process."""
