"""Near pHashes of 20,000 rows, found through exchanges, against a comparison of all pairs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from filters.registry import SIGNALS, columns
from pipelines.dedup.near_duplicates import near_hashes
from pipelines.dedup.rows import numbers
from pipelines.dedup.tasks import DedupTasks
from pipelines.runtime.exchange import Outputs, Tables
from pipelines.stages.dedup import verdict_table
from pipelines.verify.dedup import LocalSteps
from schemas.recipe import DedupConfig
from schemas.store.storage import Storage
from schemas.tables import RAW, SELECTION, SOURCES, signals_schema

ROWS, SHARDS, PARTITIONS = 20_000, 4, 3
FAMILY = 5  # rows around one hash
FARTHEST = 18  # bits from that hash; two beyond the largest distance of a recipe
DISTANCES = range(17)
SIGNALS_SCHEMA = signals_schema([column.field for column in columns(SIGNALS)])


@dataclass(frozen=True)
class Hashes:
    """The rows, best first, and all pairs of them within the largest distance."""

    phash: np.ndarray  # uint64 [n]
    pairs: np.ndarray  # [pairs, 2], the better row first
    apart: np.ndarray  # bits, of each pair


def drawn_hashes() -> np.ndarray:
    """Draw families of hashes, 0 to FARTHEST bits from the first of them, in random order."""
    rng = np.random.default_rng(0)
    phash = rng.integers(0, 2**64, ROWS // FAMILY, dtype=np.uint64).repeat(FAMILY)
    ranks = rng.random((ROWS, 64)).argsort(axis=1)
    flipped = ranks < rng.integers(0, FARTHEST + 1, (ROWS, 1))
    flipped[::FAMILY] = False
    return rng.permutation(phash ^ np.packbits(flipped, axis=1).view(np.uint64).ravel())


@pytest.fixture(scope="module")
def hashes() -> Hashes:
    phash = drawn_hashes()
    pairs, apart = [], []
    for start in range(0, ROWS, 500):
        bits = np.bitwise_count(phash[start : start + 500, None] ^ phash[start:])
        a, b = np.nonzero(bits <= max(DISTANCES))
        later = a < b
        pairs.append(np.stack([a[later], b[later]], axis=1) + start)
        apart.append(bits[a[later], b[later]])
    return Hashes(phash, np.concatenate(pairs), np.concatenate(apart))


@pytest.fixture(scope="module")
def corpus(make_desk, hashes: Hashes, tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """Lay out one row a hash: the nth is the nth best by its pixels, all of one colour."""
    desk = make_desk(tmp_path_factory.mktemp("corpus"))
    for shard in range(SHARDS):
        rows = np.arange(shard, ROWS, SHARDS)
        values = {
            "key": [f"{row:032x}" for row in rows],
            "sha256": [f"{row:064x}" for row in rows],
            "pixels": ROWS - rows,
            "phash": hashes.phash[rows],
            "colour_layout": ["80"] * len(rows),
        }
        for folder, schema in FOLDERS.items():
            desk.put_table(folder, shard, filled(schema, values))
    return desk.store


FOLDERS = {"sources": SOURCES, "raw": RAW, "signals": SIGNALS_SCHEMA, "selection": SELECTION}


def filled(schema: pa.Schema, values: dict[str, Any]) -> pa.Table:
    """Return a table with these values, and blanks in other columns."""
    count = len(values["key"])
    blank = {pa.string(): "", pa.bool_(): False}

    def column_of(each: pa.Field) -> pa.Array:
        other = [] if pa.types.is_nested(each.type) else blank.get(each.type, 0)
        return pa.array(values.get(each.name, [other] * count), each.type)

    return pa.table([column_of(each) for each in schema], schema=schema)


@dataclass(frozen=True, kw_only=True)
class PairedSteps(LocalSteps):
    """Dedup's steps, and the near hashes that each task of `bands` finds in what it received."""

    found: list[np.ndarray] = field(default_factory=list)

    def run_task(
        self, name: str, function: Callable[[Tables], Outputs], *received: tuple[Any, str]
    ) -> Any:
        def paired(tables: Tables) -> Outputs:
            hashes, bands = numbers(tables["by_band"], ["phash", "band"])
            self.found.append(near_hashes(hashes, bands, self.tasks.distance))
            return function(tables)

        return super().run_task(name, paired if name == "bands" else function, *received)


def kept_first(pairs: np.ndarray) -> np.ndarray:
    """Return the representative of each row: the best kept row that it makes a pair with."""
    representatives = np.arange(ROWS)
    better: dict[int, list[int]] = {}
    for a, b in pairs.tolist():
        better.setdefault(b, []).append(a)
    for row in sorted(better):
        kept = [other for other in better[row] if representatives[other] == other]
        representatives[row] = min(kept, default=row)
    return representatives


def sorted_pairs(pairs: np.ndarray) -> list[Sequence[int]]:
    return sorted(np.sort(pairs, axis=1).tolist())


@pytest.mark.parametrize(
    "distance",
    [
        pytest.param(n, marks=[pytest.mark.slow] * (n not in (0, 4, 8)), id=f"{n}_bits")
        for n in DISTANCES
    ],
)
def test_near_hashes_found_through_exchanges_are_those_of_all_pairs(
    hashes: Hashes, corpus: Storage, tmp_path: Path, distance: int
):
    config = DedupConfig(same_bytes=False, phash_distance=distance)
    tasks = DedupTasks(config=config, partitions=PARTITIONS)
    steps = PairedSteps(tasks=tasks, store=Storage(str(tmp_path)), corpus=corpus)
    verdicts = [
        row
        for group, found in steps.run(range(SHARDS))
        for shard in group
        for row in verdict_table(found, shard)[0].to_pylist()
    ]

    expected = hashes.pairs[hashes.apart <= distance]
    # `bands` compares distinct hashes; rows of equal ones were found equal before.
    distinct = {tuple(sorted(pair)) for pair in hashes.phash[expected].tolist()}
    distinct = sorted(list(pair) for pair in distinct if pair[0] != pair[1])
    assert sorted_pairs(np.concatenate(steps.found)) == distinct
    assert len(steps.found) == PARTITIONS
    assert bool(distinct) == bool(distance)

    found = {int(row["key"], 16): int(row["kept_key"], 16) for row in verdicts}
    assert found == dict(enumerate(kept_first(expected).tolist()))
