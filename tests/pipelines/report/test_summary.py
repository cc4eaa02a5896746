"""Summaries of shards, added up in any way, against a count over all rows at once."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filters.registry import columns
from filters.rules import judge
from filters.signal import Column
from pipelines.report.page.histograms import bin_edges, make_histogram
from pipelines.report.page.records import Group, RejectKind, Summary, Tally
from pipelines.report.summary import (
    LICENCE_CHARS,
    MOST,
    MOST_DEAD_LETTERS,
    MOST_LICENCES,
    MOST_SHARDS,
    ShardLine,
    merge,
    merge_all,
    summarise_shard,
)
from pipelines.runtime.sidecar import Reject, count, make_origin, write_dead_letters, write_sidecar
from schemas.keys import rank, sample_key
from schemas.recipe import DedupConfig, MeasureConfig, Recipe
from schemas.rule_config import Rule
from schemas.source_config import ListSource
from schemas.store.storage import CorpusError, Storage
from schemas.tables import (
    CAPTIONS,
    DUPLICATES,
    PAIRS,
    RAW,
    SCORES,
    SELECTION,
    SOURCES,
    TOKENS,
    signals_schema,
)

SIGNALS = ("size", "text_boilerplate")
RECIPE = Recipe(
    name="counted",
    sources=(
        ListSource(kind="list", name="web", path="list.csv"),
        ListSource(kind="list", name="made", path="m.csv", select={"short_side": Rule(min=512)}),
    ),
    measure=MeasureConfig(signals=SIGNALS),
    select={"short_side": Rule(min=256)},
    dedup=DedupConfig(max_text_repeats=20),
)
FATES = ("unfetched", "unreadable", "small", "near_duplicate", "quota", "wordless", "kept")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a corpus that was never crawled, and how far it came."""

    number: int
    fate: str
    source: str = "web"
    licence: str = "CC0"
    side: int = 300  # px, of a square
    repeats: int = 1

    @property
    def key(self) -> str:
        return sample_key("web", str(self.number))

    def came_to(self, fate: str) -> bool:
        """Whether it passed the stage that rows of `fate` end in."""
        return FATES.index(self.fate) > FATES.index(fate)


def write_corpus(store: Storage, shards: Sequence[Sequence[Row]]) -> None:
    for shard, rows in enumerate(shards):
        write_shard(store, shard, sorted(rows, key=lambda row: row.key))


def write_shard(store: Storage, shard: int, rows: list[Row]) -> None:
    fetched = [row for row in rows if row.came_to("unfetched")]
    measured = [row for row in rows if row.came_to("unreadable")]
    selected = [row for row in rows if row.came_to("small")]
    kept = [row for row in rows if row.fate == "kept"]
    signals = signals_schema([column.field for column in columns(SIGNALS)])
    write(store, "sources", shard, SOURCES, [listed(row) for row in rows])
    write(store, "raw", shard, RAW, [blank(RAW, row) for row in fetched])
    write(store, "signals", shard, signals, [measured_values(signals, row) for row in measured])
    write(store, "scores", shard, SCORES, [blank(SCORES, row) for row in measured])
    write(store, "selection", shard, SELECTION, [selection(row) for row in measured])
    write(store, "duplicates", shard, DUPLICATES, [judged(row) for row in selected])
    origin = {"caption_origin": "text"}
    write(store, "captions", shard, CAPTIONS, [blank(CAPTIONS, row) | origin for row in kept])
    write(store, "pairs", shard, PAIRS, [blank(PAIRS, row) for row in kept])
    write(store, "tokens", shard, TOKENS, [blank(TOKENS, row) for row in kept])
    reject(store, "crawl", shard, "http_404", [r for r in rows if r.fate == "unfetched"])
    reject(store, "measure", shard, "not_an_image", [r for r in rows if r.fate == "unreadable"])
    reject(store, "caption", shard, "empty_caption", [r for r in rows if r.fate == "wordless"])


def write(
    store: Storage, folder: str, shard: int, schema: pa.Schema, rows: list[dict[str, Any]]
) -> None:
    table = pa.Table.from_pylist(rows, schema=schema)
    origin = make_origin(folder, "", table, count(len(rows), len(rows), []))
    write_sidecar(store, f"{folder}/{shard:05d}.parquet", table, origin)


def reject(store: Storage, stage: str, shard: int, reason: str, rows: list[Row]) -> None:
    rejects = [Reject(id=row.key, reason=reason, detail=f"row {row.number}") for row in rows]
    write_dead_letters(store, stage, shard, rejects)


def blank(schema: pa.Schema, row: Row) -> dict[str, Any]:
    empty = {pa.string(): "", pa.bool_(): False}
    values = {
        field.name: [] if pa.types.is_list(field.type) else empty.get(field.type, 0)
        for field in schema
    }
    return values | {"key": row.key}


def listed(row: Row) -> dict[str, Any]:
    return blank(SOURCES, row) | {"source": row.source, "licence": row.licence}


def measured_values(schema: pa.Schema, row: Row) -> dict[str, Any]:
    sizes = {"width": row.side, "height": row.side, "short_side": row.side}
    return blank(schema, row) | sizes | {"text_url": row.number % 2 == 0}


def judged(row: Row) -> dict[str, Any]:
    is_duplicate = row.fate == "near_duplicate"
    return {
        "key": row.key,
        "kept_key": sample_key("web", "better") if is_duplicate else row.key,
        "kept_in": "",
        "reason": row.fate if row.fate in ("near_duplicate", "quota") else "",
        "distance": 3 if is_duplicate else 0,
        "text_repeats": row.repeats,
        "matched": "",
    }


def selection(row: Row) -> dict[str, Any]:
    reason = "short_side_min" if row.fate == "small" else ""
    return {"key": row.key, "kept": not reason, "reason": reason}


@st.composite
def corpora(draw: st.DrawFn) -> list[list[Row]]:
    fates = draw(st.lists(st.lists(st.sampled_from(FATES), max_size=10), max_size=3))
    numbers = itertools.count()
    return [
        [
            Row(
                number=next(numbers),
                fate=fate,
                source=source,
                licence=draw(st.sampled_from(["", "CC0", "x" * 2 * LICENCE_CHARS])),
                side=draw(st.integers(1, 40_000)),
                repeats=draw(st.integers(1, 2000)),
            )
            for fate in some
        ]
        for some in fates
        for source in [draw(st.sampled_from(["web", "made"]))]
    ]


def summaries(folder: Path, shards: list[list[Row]]) -> list[Summary]:
    store = Storage(str(folder))
    write_corpus(store, shards)
    return [summarise_shard(shard, store, RECIPE) for shard in range(len(shards))]


quickly = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@quickly
@given(shards=corpora())
def test_a_merged_summary_says_what_a_count_over_all_rows_says(
    tmp_path: Path, shards: list[list[Row]]
) -> None:
    summary = merge_all(summaries(tmp_path, shards))
    rows = [row for shard in shards for row in shard]
    kept = [row for row in rows if row.fate == "kept"]
    listed, stayed = Counter(r.source for r in rows), Counter(r.source for r in kept)
    assert summary.sources == {name: Tally(n, stayed[name]) for name, n in listed.items()}
    licences = Counter((row.source, row.licence[:LICENCE_CHARS]) for row in rows)
    assert {name: tally.rows for name, tally in summary.licences.items()} == licences
    assert sum(summary.caption_origins.values()) == len(kept)
    assert summary.shard_count == len(shards)
    for fate, outcome in {
        "unfetched": RejectKind("crawl", "failed", "http_404"),
        "unreadable": RejectKind("measure", "failed", "not_an_image"),
        "wordless": RejectKind("caption", "failed", "empty_caption"),
    }.items():
        gone = sorted((row for row in rows if row.fate == fate), key=ranked)
        found = summary.rejects.get(outcome)
        assert (found.rows if found else 0) == len(gone)
        shown = [letter.id for letter in found.examples] if found else []
        assert shown == [row.key for row in gone[:MOST_DEAD_LETTERS]]
    for fate, group in {
        "kept": Group("kept"),
        "small": Group("dropped", "short_side_min"),
        "quota": Group("dropped", "quota"),
        "near_duplicate": Group("duplicate", "near_duplicate"),
    }.items():
        drawn = sorted((row for row in rows if row.fate == fate), key=ranked)[: MOST[group.kind]]
        shown = [choice.key for choice in summary.examples.get(group, ())]
        assert shown == [row.key for row in drawn]


def ranked(row: Row) -> str:
    return rank(row.key, "report")


@quickly
@given(shards=corpora())
def test_a_merged_histogram_counts_every_row_in_the_bin_that_holds_its_value(
    tmp_path: Path, shards: list[list[Row]]
) -> None:
    summary = merge_all(summaries(tmp_path, shards))
    rows = [row for shard in shards for row in shard if row.came_to("unreadable")]
    [side] = [column for column in columns(("size",)) if column.name == "short_side"]
    edges = bin_edges(side)
    last = len(edges) - 2
    wanted = [0] * (last + 1)
    for row in rows:
        held = [n for n in range(last + 1) if edges[n] <= row.side < edges[n + 1]]
        wanted[held[0] if held else (0 if row.side < edges[0] else last)] += 1
    if not shards:
        assert summary.histograms == {}
        return
    found = summary.histograms["short_side"]
    assert list(found.measured) == wanted
    assert sum(found.kept) == sum(row.fate == "kept" for row in rows)
    assert found.under == sum(row.side < (256 if row.source == "web" else 512) for row in rows)
    selected = [row for row in rows if row.came_to("small")]
    assert summary.histograms["text_repeats"].over == sum(row.repeats > 20 for row in selected)
    assert sum(summary.histograms["text_repeats"].measured) == len(selected)
    flags = summary.histograms["text_url"].measured
    assert flags == (sum(r.number % 2 for r in rows), sum(r.number % 2 == 0 for r in rows))


@quickly
@given(shards=corpora(), data=st.data())
def test_parts_give_the_same_whole_in_any_order_and_any_grouping(
    tmp_path: Path, shards: list[list[Row]], data: st.DataObject
) -> None:
    parts = summaries(tmp_path, shards)
    shuffled = data.draw(st.permutations(parts))
    cut = data.draw(st.integers(0, len(parts)))
    grouped = merge(merge_all(shuffled[:cut]), merge_all(shuffled[cut:]))
    assert grouped == merge_all(parts)


def test_a_summary_is_no_larger_for_more_rows_licences_and_shards(tmp_path: Path) -> None:
    numbers = itertools.count()
    shards = [
        [
            Row(number=(n := next(numbers)), fate=fate, licence=f"licence {n}")
            for fate in FATES
            for _ in range(30)
        ]
        for _ in range(2)
    ]
    summary = merge_all(summaries(tmp_path, shards))
    assert {len(some) for some in summary.examples.values()} == set(MOST.values())
    assert {len(some.examples) for some in summary.rejects.values()} == {MOST_DEAD_LETTERS}
    assert len(summary.licences) == MOST_LICENCES
    assert sum(tally.rows for tally in summary.sources.values()) == 2 * 30 * len(FATES)


def test_of_many_shards_those_that_lost_the_most_are_named() -> None:
    def part(number: int) -> Summary:
        line = ShardLine(number, "web", 100, 100, 100, 100, 100, samples=number % 100)
        return Summary(shard_count=1, shards=(line,))

    many = MOST_SHARDS * 2
    summary = merge_all(part(number) for number in range(many))
    assert summary.shard_count == many
    assert len(summary.shards) == MOST_SHARDS
    assert max(line.samples for line in summary.shards) == 49


def test_a_missing_side_car_is_an_error_and_no_empty_report(tmp_path: Path) -> None:
    store = Storage(str(tmp_path))
    write_corpus(store, [[Row(number=1, fate="kept")]])
    store.remove("signals/00000.parquet")
    with pytest.raises(CorpusError, match="signals/00000"):
        summarise_shard(0, store, RECIPE)


@pytest.mark.parametrize("value", [255, 256, 257, 1023, 1024, 1025, float("nan")])
def test_a_histogram_breaks_a_bound_where_the_rule_does(value: float) -> None:
    rule = Rule(min=256, max=1024)
    column = Column(name="side", type=pa.float64(), meaning="", high=2000)
    histogram = make_histogram(column, [value], [True], rule)
    [reason] = judge(pa.table({"side": [value]}), {"side": rule}).to_pylist()
    assert (histogram.under + histogram.over > 0) == (reason != "")


def test_a_forbidden_flag_is_counted_where_it_is_set() -> None:
    column = Column(name="url", type=pa.bool_(), meaning="")
    found = make_histogram(column, [True, False, True], [False, True, False], Rule(forbid=True))
    assert (found.measured, found.kept, found.forbidden) == ((1, 2), (1, 0), 2)


@pytest.mark.parametrize("column", columns(("size", "blank", "text_length", "text_boilerplate")))
def test_bins_rise_and_cover_the_range_of_their_column(column: Column) -> None:
    edges = bin_edges(column)
    assert np.all(np.diff(edges) > 0)
    assert edges[0] <= column.low
    assert edges[-1] >= column.high * 0.999


@pytest.mark.parametrize(
    ("value", "wanted"), [(-5, 0), (0, 0), (2.9, 2), (3, 3), (48, 47), (99, 47)]
)
def test_a_bin_begins_at_its_edge_and_the_end_bins_hold_what_lies_beyond(
    value: float, wanted: int
) -> None:
    column = Column(name="side", type=pa.float64(), meaning="", high=48)
    assert make_histogram(column, [value], [True], None).measured.index(1) == wanted
