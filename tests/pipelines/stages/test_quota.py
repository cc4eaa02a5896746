"""Quotas against the oracle that sorts every row of a source by rank."""

import json
from collections import defaultdict

import pytest

from pipelines.engines.engine import Engine, shard_numbers
from pipelines.runtime.stage import run_shard
from pipelines.stages.quota import BIN_DIGITS, write_cutoffs
from pipelines.stages.select import QUOTA, Select
from schemas.keys import rank, sample_key
from schemas.recipe import Rule

RULES = {"short_side": Rule(min=256)}
SHARDS = ("web", "web", "hub", "drawn")  # source of each
ROWS = 60  # a shard


@pytest.fixture
def good(desk) -> dict[str, list[str]]:
    """Lay out shards of rows, a quarter of them too small; return the good keys by source."""
    desk.put_plan(SHARDS)
    good: dict[str, list[str]] = defaultdict(list)
    for shard, source in enumerate(SHARDS):
        keys = [sample_key(source, f"{shard}-{n}") for n in range(ROWS)]
        sides = [255 if n % 4 == 0 else 256 for n in range(ROWS)]
        desk.put(
            "signals",
            shard,
            [{"key": k, "short_side": s} for k, s in zip(keys, sides, strict=True)],
        )
        desk.put("duplicates", shard, [{"key": k, "kept_key": k} for k in keys])
        good[source] += [k for k, s in zip(keys, sides, strict=True) if s == 256]
    return good


def cutoffs(desk, quotas: dict[str, int], bin_digits: int = BIN_DIGITS) -> dict[str, str]:
    Engine(processes=1).run(
        lambda root: write_cutoffs(
            shard_numbers(root, range(len(SHARDS))),
            desk.store,
            Select(rules=RULES),
            quotas,
            "quota.json",
            bin_digits,
        ),
        name="quota",
    )
    return json.loads(desk.store.read("quota.json"))


def kept(desk, found: dict[str, str]) -> dict[str, set[str]]:
    keys: dict[str, set[str]] = defaultdict(set)
    for shard, source in enumerate(SHARDS):
        run_shard(Select(rules=RULES, cutoffs=found), shard, desk.store)
        keys[source] |= {row["key"] for row in desk.rows("selection", shard) if row["kept"]}
    return keys


def first_by_rank(keys: list[str], quota: int) -> set[str]:
    return set(sorted(keys, key=lambda key: rank(key, QUOTA))[:quota])


@pytest.mark.parametrize(
    "quotas",
    [
        {"web": 37, "hub": 44},
        {"web": 90, "hub": 45},  # all that there are
        {"web": 1000, "drawn": 2},  # more than there are
        {"hub": 1, "drawn": 1, "web": 1},
    ],
)
def test_exactly_the_first_rows_by_rank_are_within_a_quota(desk, good, quotas: dict[str, int]):
    expected = {
        source: first_by_rank(keys, quotas.get(source, len(keys))) for source, keys in good.items()
    }
    assert kept(desk, cutoffs(desk, quotas)) == expected


def test_many_rows_in_one_range_of_ranks_are_told_apart(desk, good):
    found = kept(desk, cutoffs(desk, {"web": 50}, bin_digits=1))
    assert found["web"] == first_by_rank(good["web"], 50)


def test_a_source_with_room_to_spare_has_no_cut_off(desk, good):
    assert cutoffs(desk, {"web": 1000}) == {}
