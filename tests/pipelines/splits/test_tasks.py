"""Groups and draws, against an oracle that joins samples one by one."""

from collections.abc import Mapping
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.runtime.exchange import partition_of, receive, send
from pipelines.splits.links import LOOKS, ROWS, SHARED, LinkReader
from pipelines.splits.tasks import DRAW, SplitTasks
from pipelines.verify.held_out import LocalSplit
from schemas.keys import unit
from schemas.recipe_file import parse_recipe
from schemas.store.storage import Storage
from schemas.tables import HELD_OUT

SAMPLES = st.dictionaries(
    st.integers(0, 40),  # first word of a key
    st.tuples(st.sets(st.integers(0, 12), max_size=3), st.sampled_from([0, 1, 3, 255, 1 << 40])),
    max_size=25,
)


def tasks_of(samples: int, *, partitions: int = 3, distance: int | None = 4) -> SplitTasks:
    source = {"name": "pics", "kind": "folder", "path": "images"}
    recipe = parse_recipe(
        {
            "name": "r",
            "sources": [source],
            "dedup": {"phash_distance": distance},
            "shard": {"held_out": 0.4},
        }
    )
    reader = LinkReader(recipe=recipe, rows_of="tokens")
    return SplitTasks(reader=reader, partitions=partitions, samples=samples)


def held_out(samples: Mapping[int, tuple[set[int], int]], tasks: SplitTasks) -> dict[str, str]:
    """Draw with the tasks; return the group of each held-out sample by its key."""
    rows = [{"row": row, "key1": 7, "subset": "t2i"} for row in samples]
    shared = [
        {"shared": thing, "row": row} for row, (things, _) in samples.items() for thing in things
    ]
    looks = [{"phash": look, "row": row} for row, (_, look) in samples.items()]
    sent = {
        "rows": (pa.Table.from_pylist(rows, ROWS), "row"),
        "shared": (pa.Table.from_pylist(shared, SHARED), "shared"),
        "looks": (pa.Table.from_pylist(looks, LOOKS), "phash"),
    }
    with TemporaryDirectory() as folder:
        split = LocalSplit(store=Storage(folder), tasks=tasks)
        outputs = {
            name: (table, partition_of([table[by].to_numpy()], tasks.partitions))
            for name, (table, by) in sent.items()
        }
        [held] = split.held(send(split.store, "split-read-00000", outputs))
        found: Any = receive(split.store, [part for _, part in held])
        table = found.get("held", HELD_OUT.empty_table())
    return {row["key"]: row["group"] for row in table.to_pylist()}


def groups_of(samples: Mapping[int, tuple[set[int], int]], distance: int | None) -> list[set[int]]:
    """Join samples that share a thing, or whose looks are near."""
    groups: list[set[int]] = []
    for row, (things, look) in samples.items():

        def is_like(other: int, things: set[int] = things, look: int = look) -> bool:
            near = distance is not None and (samples[other][1] ^ look).bit_count() <= distance
            return near or bool(samples[other][0] & things)

        joined = [group for group in groups if any(map(is_like, group))]
        groups = [group for group in groups if group not in joined] + [{row}.union(*joined)]
    return groups


@settings(max_examples=60, deadline=None)
@given(SAMPLES, st.sampled_from([None, 4]), st.sampled_from([1, 3]))
def test_a_group_is_held_out_whole_or_not_at_all(
    samples: dict[int, tuple[set[int], int]], distance: int | None, partitions: int
) -> None:
    tasks = tasks_of(len(samples), partitions=partitions, distance=distance)
    found = held_out(samples, tasks)
    expected: dict[str, str] = {}
    for group in groups_of(samples, distance):
        name = f"{min(group):016x}"
        if unit(name, f"{DRAW} ") < 0.4 and len(group) <= max(1, int(0.4 * len(samples))):
            expected |= {f"{row:016x}{7:016x}": name for row in group}
    assert found == expected


def test_a_group_that_is_larger_than_all_held_out_samples_stays_in_training() -> None:
    samples = {row: ({1}, 1 << row) for row in range(10)}
    tasks = tasks_of(10, distance=None)
    assert tasks.largest == 4
    assert held_out(samples, tasks) == {}
    alone = {row: ({row}, 1 << row) for row in range(10)}
    assert 0 < len(held_out(alone, tasks)) < 10


def test_the_share_is_met_on_average() -> None:
    samples = {row: (set[int](), 0) for row in np.random.default_rng(0).integers(0, 1 << 60, 3000)}
    found = held_out(
        {int(row): value for row, value in samples.items()}, tasks_of(3000, distance=None)
    )
    assert abs(len(found) / 3000 - 0.4) < 0.04


def test_links_are_fewer_than_samples_that_share_something() -> None:
    tasks = tasks_of(100)
    shared = pa.Table.from_pydict({"shared": [5] * 100, "row": [*range(100)]}, SHARED)
    links, partitions = tasks.equal({"shared": shared})["links"]
    assert links.num_rows == 99
    assert {*partitions.tolist()} == {0}
