"""The balance is that of MetaCLIP, by draws from hashes, for any number of partitions."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.dedup.balance import BalanceTasks, balance_table, draws, with_entries
from pipelines.dedup.rows import REMOVED_ROWS, standing_alone
from pipelines.runtime.exchange import Outputs, Tables
from schemas.list_config import BalanceConfig

ENTRIES = ("red", "fox", "red fox", "bowl")


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("entries") / "entries.txt"
    path.write_text("\n".join(ENTRIES))
    return str(path)


def table_of(texts: list[str]) -> pa.Table:
    number = np.arange(len(texts), dtype=np.uint64)
    zeros = np.zeros(len(texts), np.uint64)
    columns = {"shard": (number % 3).astype(np.int32), "key0": number, "key1": zeros}
    return pa.Table.from_pydict({**columns, "text": texts, "title": [""] * len(texts)})


def parts(outputs: list[Outputs], name: str, partition: int) -> list[pa.Table]:
    found = [each[name] for each in outputs if name in each]
    return [rows.filter(pa.array(places == partition)) for rows, places in found]


def received(outputs: list[Outputs], partition: int, *names: str) -> Tables:
    tables = {
        name: pa.concat_tables(parts(outputs, name, partition) or [pa.table({})]) for name in names
    }
    return {name: table for name, table in tables.items() if table.num_rows}


def run(
    rows: pa.Table, removed: pa.Table, config: BalanceConfig, partitions: int
) -> tuple[dict[int, str], dict[str, int]]:
    """Run the tasks; return {number: reason} of dropped rows, and {entry: rows}."""
    tasks = BalanceTasks(config=config, partitions=partitions)
    each = range(partitions)
    sent = with_entries(rows, config).drop_columns(["text", "title"])
    start: list[Outputs] = [
        {"capped": (sent, tasks._by(sent, ["key0", "key1"]))},
        {"resolved": (removed, tasks._by(removed, ["key0", "key1"]))},
    ]
    inputs = [received(start, n, "capped", "resolved") for n in each]
    offered = [tasks.offer(tables) for tables in inputs if "capped" in tables]
    counted = [received(offered, n, "counts") for n in each]
    totals = [tasks.total(tables) for tables in counted if tables]
    waiting = [received([*offered, *totals], n, "rows", "common") for n in each]
    drawn = [tasks.draw(tables) for tables in waiting if "rows" in tables]
    verdicts = [each_["verdicts"][0] for each_ in drawn]
    dropped = pa.concat_tables([REMOVED_ROWS.empty_table(), *verdicts])
    kept = [number for each_ in drawn for number in each_["rows"][0]["key0"].to_pylist()]
    reasons = dict(zip(dropped["key0"].to_pylist(), dropped["reason"].to_pylist(), strict=True))
    assert sorted([*kept, *reasons, *removed["key0"].to_pylist()]) == [*range(len(rows))]
    sums = [each_["totals"][0] for each_ in totals]
    table = balance_table(pa.concat_tables(sums) if sums else None, config)
    return reasons, dict(zip(*table.to_pydict().values(), strict=True))


TEXTS = st.lists(st.sampled_from(["a red fox", "fox", "a bowl", "none", "red"]), max_size=30)


@settings(deadline=None)
@given(TEXTS, st.sets(st.integers(0, 29)), st.sampled_from(["drop", "keep"]), st.integers(1, 4))
def test_a_row_stays_if_it_is_drawn_for_any_of_its_entries(
    entries: str, texts: list[str], gone: set[int], unmatched: str, partitions: int
):
    config = BalanceConfig(entries=entries, per_entry=3, unmatched=unmatched)  # type: ignore[arg-type]
    rows = table_of(texts)
    gone = {number for number in gone if number < len(texts)}
    removed = standing_alone(rows.take(np.array(sorted(gone), np.int64)), "same_bytes")
    reasons, counted = run(rows, removed, config, partitions)
    left = [number for number in range(len(texts)) if number not in gone]
    has = {n: [e for e in ENTRIES if f" {e} " in f" {texts[n]} "] for n in left}
    counts = {e: sum(e in has[n] for n in left) for e in ENTRIES}
    assert counted == {entry: rows for entry, rows in counts.items() if rows}
    hashes = dict(zip(ENTRIES, hashes_of(config), strict=True))
    for number in left:
        one = rows.slice(number, 1)
        drawn = [draws(one, hashes[e])[0] < min(1, 3 / counts[e]) for e in has[number]]
        expected = {} if any(drawn) else {number: "balance"}
        if not has[number]:
            expected = {number: "balance_unmatched"} if unmatched == "drop" else {}
        assert {n: reason for n, reason in reasons.items() if n == number} == expected


def hashes_of(config: BalanceConfig) -> np.ndarray:
    from filters.entries import entry_index

    return entry_index(config.entries, config.entries_sha256).hashes[:, None]


def test_about_as_many_rows_of_an_entry_stay_as_asked_for(entries: str):
    config = BalanceConfig(entries=entries, per_entry=400)
    rows = table_of(["a red bowl"] * 100 + ["fox"] * 4000)
    removed = standing_alone(rows.slice(0, 0), "")
    reasons, counted = run(rows, removed, config, 3)
    assert counted == {"fox": 4000, "bowl": 100, "red": 100}
    assert set(reasons.values()) == {"balance"}
    assert min(reasons) >= 100  # rare entries stay whole
    assert 4100 - len(reasons) - 100 == pytest.approx(400, abs=60)  # 3 standard deviations


def test_draws_are_even_and_differ_by_entry():
    rows = table_of([""] * 20_000)
    one, two = (draws(rows, np.full(20_000, salt, np.uint64)) for salt in (1, 2))
    for drawn in (one, two):
        counts, _ = np.histogram(drawn, 10, (0, 1))
        assert abs(counts - 2000).max() < 200
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.03
