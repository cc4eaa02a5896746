from typing import Any

import pytest

from pipelines.runtime.stage import run_shard, wanted_fingerprint
from pipelines.stages.select import QUOTA, Select, judged
from schemas.keys import rank
from schemas.rule_config import Rule

LOW, HIGH = Rule(min=256), Rule(max=2.0)


@pytest.fixture
def lay_out(desk):
    """Return a function that lays out measured rows, of which dedup dropped some."""

    def lay(rows: list[dict[str, Any]], gone: tuple[str, ...] = ()) -> None:
        desk.put_plan(["web"])
        desk.put("signals", 0, rows)
        twins = [
            {
                "key": row["key"],
                "kept_key": row["key"],
                "reason": "same_bytes" if row["key"] in gone else "",
                "text_repeats": row.get("text_repeats", 1),
            }
            for row in rows
        ]
        desk.put("duplicates", 0, twins)

    return lay


def verdicts(desk, **rules: Rule) -> dict[str, str]:
    run_shard(Select(rules=rules, cutoffs={}), 0, desk.store)
    return {row["key"]: row["reason"] for row in desk.rows("selection", 0)}


@pytest.mark.parametrize(
    ("short_side", "aspect", "reason"),
    [
        (255, 1.0, "short_side_min"),
        (256, 1.0, ""),
        (257, 1.0, ""),
        (256, 2.0 - 2**-40, ""),
        (256, 2.0, ""),
        (256, 2.0 + 2**-40, "aspect_max"),
    ],
)
def test_bounds_are_inclusive(desk, lay_out, short_side: int, aspect: float, reason: str):
    lay_out([{"key": "a", "short_side": short_side, "aspect": aspect}])
    assert verdicts(desk, short_side=LOW, aspect=HIGH) == {"a": reason}
    assert desk.rows("selection", 0)[0]["kept"] == (reason == "")


def test_the_first_rule_in_the_recipes_order_gives_the_reason(desk, lay_out):
    lay_out([{"key": "a", "short_side": 1, "aspect": 9.0}])
    assert verdicts(desk, short_side=LOW, aspect=HIGH) == {"a": "short_side_min"}
    assert verdicts(desk, aspect=HIGH, short_side=LOW) == {"a": "aspect_max"}


def test_rows_that_dedup_dropped_are_not_judged(desk, lay_out):
    lay_out([{"key": key, "short_side": 300} for key in "abc"], gone=("b",))
    assert verdicts(desk, short_side=LOW) == {"a": "", "c": ""}


def test_repeated_texts_can_be_a_rule(desk, lay_out):
    lay_out([{"key": "a", "text_repeats": 3}, {"key": "b", "text_repeats": 4}])
    assert verdicts(desk, text_repeats=Rule(max=3)) == {"a": "", "b": "text_repeats_max"}


def test_a_flag_can_be_forbidden(desk, lay_out):
    lay_out([{"key": "a", "text_url": True}, {"key": "b", "text_url": False}])
    assert verdicts(desk, text_url=Rule(forbid=True)) == {"a": "text_url", "b": ""}


def test_without_rules_every_row_stays(desk, lay_out):
    lay_out([{"key": "a"}, {"key": "b"}])
    assert verdicts(desk) == {"a": "", "b": ""}


def test_the_report_counts_each_reason(desk, lay_out):
    lay_out([{"key": str(n), "short_side": n * 100, "aspect": float(n)} for n in range(6)])
    report = run_shard(Select(rules={"short_side": LOW, "aspect": HIGH}, cutoffs={}), 0, desk.store)
    assert (report.rows_in, report.kept) == (6, 0)
    assert report.dropped == {"short_side_min": 3, "aspect_max": 3}


def test_the_cut_off_drops_rows_of_higher_rank_after_the_rules(desk, lay_out):
    lay_out([{"key": key, "short_side": 300 if key != "b" else 1} for key in "abcd"])
    ranks = sorted((rank(key, QUOTA), key) for key in "acd")
    run_shard(
        Select(rules={"short_side": LOW}, cutoffs={"web": ranks[1][0], "hub": ""}), 0, desk.store
    )
    found = {row["key"]: row["reason"] for row in desk.rows("selection", 0)}
    within = {ranks[0][1]: "", ranks[1][1]: ""}
    assert found == {ranks[2][1]: QUOTA, "b": "short_side_min", **within}


def test_only_the_rules_and_the_sources_own_cut_off_make_a_shard_again(desk, lay_out):
    lay_out([{"key": "a"}])
    stages = [
        Select(rules={"short_side": LOW, "aspect": HIGH}, cutoffs={}),
        Select(rules={"short_side": LOW, "aspect": HIGH}, cutoffs={"hub": "0" * 32}),
        Select(rules={"aspect": HIGH, "short_side": LOW}, cutoffs={}),
        Select(rules={"short_side": LOW, "aspect": HIGH}, cutoffs={"web": "0" * 32}),
        Select(rules={"short_side": Rule(min=257), "aspect": HIGH}, cutoffs={}),
    ]
    prints = [wanted_fingerprint(stage, 0, desk.store) for stage in stages]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 4


def test_side_cars_of_different_rows_are_a_bug(desk, lay_out):
    lay_out([{"key": "a"}])
    desk.put("duplicates", 0, [{"key": "b"}])
    with pytest.raises(AssertionError, match="1 keys, 0 rows of them"):
        list(judged(0, desk.store, {}, "duplicates"))
