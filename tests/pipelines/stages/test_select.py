from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.runtime.stage import run_shard, wanted_fingerprint
from pipelines.stages.select import Select
from schemas.rule_config import Rule
from schemas.tables import SCORES

LOW, HIGH = Rule(min=256), Rule(max=2.0)


@pytest.fixture
def lay_out(desk):
    """Return a function that lays out measured rows, of a shard for each source."""

    def lay(rows: Sequence[Mapping[str, Any]], sources: Sequence[str] = ("web",)) -> None:
        desk.put_plan(sources)
        for shard, source in enumerate(sources):
            here = [{"source": source} | row for row in rows]
            for folder in ("sources", "signals", "scores"):
                desk.put(folder, shard, here)

    return lay


def select(*sources: str, scored: Sequence[str] = (), **rules: Rule) -> Select:
    return Select(rules=dict.fromkeys(sources or ("web",), rules), scored=tuple(scored))


def verdicts(desk, stage: Select, shard: int = 0) -> dict[str, str]:
    run_shard(stage, shard, desk.store)
    return {row["key"]: row["reason"] for row in desk.rows("selection", shard)}


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
    assert verdicts(desk, select(short_side=LOW, aspect=HIGH)) == {"a": reason}
    assert desk.rows("selection", 0)[0]["kept"] == (reason == "")


def test_the_first_rule_in_the_recipes_order_gives_the_reason(desk, lay_out):
    lay_out([{"key": "a", "short_side": 1, "aspect": 9.0}])
    assert verdicts(desk, select(short_side=LOW, aspect=HIGH)) == {"a": "short_side_min"}
    assert verdicts(desk, select(aspect=HIGH, short_side=LOW)) == {"a": "aspect_max"}


def test_only_the_rows_of_the_stage_before_are_judged(desk, lay_out):
    lay_out([{"key": key, "short_side": 300} for key in "abc"])
    desk.put("scores", 0, [{"key": "a"}, {"key": "c"}])  # `b` failed there
    assert verdicts(desk, select(short_side=LOW)) == {"a": "", "c": ""}


def test_a_flag_can_be_forbidden(desk, lay_out):
    lay_out([{"key": "a", "text_url": True}, {"key": "b", "text_url": False}])
    assert verdicts(desk, select(text_url=Rule(forbid=True))) == {"a": "text_url", "b": ""}


def test_without_rules_every_row_stays(desk, lay_out):
    lay_out([{"key": "a"}, {"key": "b"}])
    assert verdicts(desk, select()) == {"a": "", "b": ""}


def test_columns_of_the_list_can_be_judged_and_so_can_the_host_of_a_url(desk, lay_out):
    lay_out(
        [
            {"key": "a", "url": "https://u@Cdn.Example.ORG:8080/a.jpg", "licence": "CC0"},
            {"key": "b", "url": "https://example.com/b.jpg", "licence": ""},
            {"key": "c", "url": "a.tar::c.jpg", "licence": "CC0", "title": "A"},
        ]
    )
    banned = Rule(not_in=("example.org",))
    licensed = Rule(in_=("CC0", "PD"))
    assert verdicts(desk, select(host=banned, licence=licensed, title=Rule(not_in=("A",)))) == {
        "a": "host_not_in",
        "b": "licence_in",
        "c": "title_not_in",
    }


def test_each_source_has_its_own_rules(desk, lay_out):
    lay_out([{"key": "a", "short_side": 300}], sources=("web", "hub"))
    stage = Select(rules={"web": {"short_side": LOW}, "hub": {"short_side": Rule(min=512)}})
    assert verdicts(desk, stage, 0) == {"a": ""}
    assert verdicts(desk, stage, 1) == {"a": "short_side_min"}


def test_rules_on_scores_are_applied_last_and_a_row_without_a_score_breaks_them(desk, lay_out):
    lay_out(
        [{"key": key, "short_side": side} for key, side in zip("abc", (1, 300, 300), strict=True)]
    )
    scores = {"key": ["a", "b", "c"], "image_sha256": [""] * 3, "text_digest": [""] * 3}
    scores["aesthetic"] = [None, 5.0, 4.0]
    column = pa.field("aesthetic", pa.float32())
    desk.put_table("scores", 0, pa.table(scores, schema=pa.schema([*SCORES, column])))
    rules = {"aesthetic": Rule(min=4.75), "short_side": LOW}
    assert verdicts(desk, select(scored=["aesthetic"], **rules)) == {
        "a": "short_side_min",
        "b": "",
        "c": "aesthetic_min",
    }


def test_the_report_counts_each_reason(desk, lay_out):
    lay_out([{"key": str(n), "short_side": n * 100, "aspect": float(n)} for n in range(6)])
    report = run_shard(select(short_side=LOW, aspect=HIGH), 0, desk.store)
    assert (report.rows_in, report.kept) == (6, 0)
    assert report.dropped == {"short_side_min": 3, "aspect_max": 3}


def test_only_the_rules_of_its_source_make_a_shard_again(desk, lay_out):
    lay_out([{"key": "a"}])
    rules = {"short_side": LOW, "aspect": HIGH}
    stages = [
        Select(rules={"web": rules}),
        Select(rules={"web": rules, "hub": {}}),
        Select(rules={"web": dict(reversed(rules.items()))}),
        Select(rules={"web": rules | {"short_side": Rule(min=257)}}),
    ]
    prints = [wanted_fingerprint(stage, 0, desk.store) for stage in stages]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_a_changed_file_of_texts_makes_a_shard_again_and_a_moved_one_does_not(
    desk, lay_out, tmp_path: Path
):
    lay_out([{"key": "a", "licence": "CC0"}])
    rules = [
        Rule(in_=str(tmp_path / name), texts_sha256=digest * 64)
        for name, digest in (("a", "0"), ("b", "0"), ("a", "1"))
    ]
    found = [wanted_fingerprint(select(licence=rule), 0, desk.store) for rule in rules]
    assert found[0] == found[1] != found[2]


def test_side_cars_of_different_rows_are_a_bug(desk, lay_out):
    lay_out([{"key": "a", "short_side": 300}])
    desk.put("scores", 0, [{"key": "b"}])
    with pytest.raises(AssertionError, match="1 keys, 0 rows of them"):
        run_shard(select(short_side=LOW), 0, desk.store)
