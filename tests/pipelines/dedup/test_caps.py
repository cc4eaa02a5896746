"""Caps against the oracle that sorts the rows of every group by rank."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.dedup.caps import QUOTA, Cap, CapTasks, caps_of, group_columns
from pipelines.dedup.rows import KEY, ROW, digest, numbers
from pipelines.runtime.exchange import Outputs, Tables, partition_of
from schemas.recipe_file import parse_recipe

WORD = 2**64 - 1


class Row(NamedTuple):
    """A row that duplicates left, and its groups; '' for none."""

    key: int
    host: str
    author: str
    source: str


HOSTS = ("", "a.org", "a.org", "a.org", "b.org", "c.org")  # one is popular
AUTHORS = ("", "ann", "bob")
SOURCES = ("web", "hub", "made")


def drawn_rows(seed: int, count: int) -> list[Row]:
    draw = np.random.default_rng(seed)
    keys = (int.from_bytes(draw.bytes(16)) for _ in range(count))
    return [Row(key, *(str(draw.choice(of)) for of in (HOSTS, AUTHORS, SOURCES))) for key in keys]


QUOTAS = st.dictionaries(st.sampled_from(["web", "hub"]), st.integers(1, 6))


def cap(reason: str, name: str, limit: int) -> Cap:
    return Cap(reason=reason, groups=(f"{name}0", f"{name}1"), limit=limit)


def quota(limits: Mapping[str, int]) -> Cap:
    found = tuple((*digest(name), limit) for name, limit in limits.items())
    return Cap(reason=QUOTA, groups=("source0", "source1"), limit=None, limits=found)


def scrambled(word: int) -> int:
    """The finalizer of SplitMix64, in Python's integers."""
    word = (word + 0x9E3779B97F4A7C15) & WORD
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & WORD
    return word ^ (word >> 31)


def ranked(key: int, reason: str) -> int:
    salt = int.from_bytes(blake2b(reason.encode(), digest_size=16).digest()[:8])
    return scrambled(scrambled((key >> 64) ^ salt) ^ (key & WORD))


def oracle(
    rows: Sequence[Row], caps: Sequence[tuple[str, str, Mapping[str, int] | int]]
) -> dict[int, str]:
    """Return the reason of each dropped row: caps are (reason, group, limit or those of groups)."""
    dropped: dict[int, str] = {}
    for reason, name, limits in caps:
        groups: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            if row.key not in dropped:
                groups[getattr(row, name)].append(row)
        for group, members in groups.items():
            limit = limits if isinstance(limits, int) else limits.get(group)
            if group and limit is not None:
                members.sort(key=lambda row: (ranked(row.key, reason), row.key))
                dropped |= {row.key: reason for row in members[limit:]}
    return dropped


def table_of(rows: Sequence[Row], caps: Sequence[Cap]) -> pa.Table:
    columns: dict[str, Any] = {
        "shard": np.arange(len(rows), dtype=np.int32) % 3,
        "key0": np.array([row.key >> 64 for row in rows], np.uint64),
        "key1": np.array([row.key & WORD for row in rows], np.uint64),
    }
    for name in group_columns(caps):
        words = [digest(getattr(row, name[:-1]))[int(name[-1])] for row in rows]
        columns[name] = np.array(words, np.uint64)
    return pa.table(columns).select([*ROW, *group_columns(caps)])


class Exchange:
    """Tasks that exchange rows in memory."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.largest: dict[str, int] = defaultdict(int)  # rows that a task received

    def run(
        self, function: Callable[[Tables], Outputs], *received: tuple[list[Outputs], str]
    ) -> list[Outputs]:
        """Run a task on each partition that has rows."""
        results: list[Outputs] = []
        for partition in range(self.partitions):
            tables: dict[str, list[pa.Table]] = defaultdict(list)
            for outputs, name in received:
                for table, places in (sent[name] for sent in outputs if name in sent):
                    mine = table.filter(pa.array(np.asarray(places) == partition))
                    tables[name] += [mine] if mine.num_rows else []
            whole = {name: pa.concat_tables(parts) for name, parts in tables.items() if parts}
            if whole:
                step = function.__name__
                rows = sum(table.num_rows for table in whole.values())
                self.largest[step] = max(self.largest[step], rows)
                results.append(function(whole))
        return results


def run(
    rows: Sequence[Row], caps: Sequence[Cap], partitions: int, bin_bits: int
) -> tuple[dict[int, str], Exchange]:
    """Run the caps one after the other, as the graph of dedup does."""
    exchange, table = Exchange(partitions), table_of(rows, caps)
    spread = partition_of(numbers(table, KEY), partitions)
    left: list[tuple[list[Outputs], str]] = [([{"capped": (table, spread)}], "capped")]
    dropped: dict[int, str] = {}
    for each in caps:
        tasks = CapTasks(cap=each, partitions=partitions, bin_bits=bin_bits)
        offered = exchange.run(tasks.offer, *left)
        lasts = exchange.run(tasks.last, (offered, "counts"))
        edge = exchange.run(tasks.edge, (offered, "rows"), (lasts, "lasts"))
        cut = exchange.run(tasks.cut, (edge, "edge"))
        left = [(edge, "rows"), (cut, "over")]
        for outputs in (*edge, *cut):
            for row in outputs["verdicts"][0].to_pylist() if "verdicts" in outputs else ():
                key = row["key0"] << 64 | row["key1"]
                assert key not in dropped, "two verdicts on a row"
                assert (row["kept_key0"], row["kept_key1"]) == (row["key0"], row["key1"])
                dropped[key] = row["reason"]
    return dropped, exchange


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32),
    st.sampled_from([0, 1, 9, 60]),
    st.integers(1, 9),
    st.integers(1, 6),
    QUOTAS,
    st.sampled_from([1, 2, 5]),
    st.sampled_from([1, 2, 4, 12]),
)
def test_caps_keep_the_rows_of_lowest_rank_whatever_the_tasks(
    seed: int,
    count: int,
    per_host: int,
    per_author: int,
    quotas: dict[str, int],
    partitions: int,
    bin_bits: int,
):
    rows = drawn_rows(seed, count)
    caps = [cap("max_per_host", "host", per_host), cap("max_per_author", "author", per_author)]
    found, _ = run(rows, [*caps, quota(quotas)], partitions, bin_bits)
    assert found == oracle(
        rows,
        [
            ("max_per_host", "host", per_host),
            ("max_per_author", "author", per_author),
            (QUOTA, "source", quotas),
        ],
    )


@pytest.mark.parametrize(
    "quotas",
    [
        {"web": 37, "hub": 44},
        {"web": 90, "hub": 45},  # all that there are
        {"web": 1000, "made": 2},  # more than there are
        {"hub": 1, "made": 1, "web": 1},
    ],
)
def test_a_source_keeps_its_quota_exactly_and_all_rows_if_it_has_fewer(quotas: dict[str, int]):
    there = {"web": 90, "hub": 45, "made": 30}
    rows = [
        Row(int.from_bytes(blake2b(f"{s} {n}".encode(), digest_size=16).digest()), "", "", s)
        for s, count in there.items()
        for n in range(count)
    ]
    dropped, _ = run(rows, [quota(quotas)], partitions=2, bin_bits=12)
    for source, count in there.items():
        kept = sum(row.key not in dropped for row in rows if row.source == source)
        assert kept == min(count, quotas.get(source, count))


def test_a_group_as_large_as_the_corpus_makes_no_task_larger():
    """Of 20,000 rows of a host, one task gets the counts of ranges, and the rows of one range."""
    rows = [
        Row(int.from_bytes(blake2b(b"%d" % n, digest_size=16).digest()), "a.org", "", "web")
        for n in range(20_000)
    ]
    dropped, exchange = run(rows, [cap("max_per_host", "host", 10_000)], partitions=20, bin_bits=8)
    assert len(dropped) == 10_000
    assert exchange.largest["last"] <= 256 * 20
    assert exchange.largest["cut"] < 3 * 20_000 / 256
    assert exchange.largest["offer"] < 2 * 20_000 / 20


def test_caps_work_in_the_order_of_the_recipes_keys_and_quotas_are_last():
    sources = [
        {"name": "web", "kind": "list", "path": "a.csv", "quota": 7},
        {"name": "hub", "kind": "list", "path": "b.csv"},
    ]
    most = {f"max_per_{name}": 3 for name in ("author", "host", "image", "text")}
    recipe = parse_recipe({"name": "a", "sources": sources, "dedup": most})
    caps = caps_of(recipe)
    names = [f"max_per_{name}" for name in ("text", "image", "host", "author")]
    assert [each.reason for each in caps] == [*names, QUOTA]
    assert caps[-1].limits == ((*digest("web"), 7),)
    assert caps_of(parse_recipe({"name": "a", "sources": sources[1:]})) == ()
