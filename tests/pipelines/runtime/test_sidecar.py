import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.runtime.sidecar import (
    FOOTER_BYTES,
    Counts,
    EarlierReleaseError,
    Reject,
    column,
    count,
    dead_letters_path,
    make_origin,
    read_origin,
    read_table,
    sidecar_path,
    write_dead_letters,
    write_sidecar,
)
from schemas.store.storage import CorpusError, Storage
from schemas.tables import SELECTION

PATH = "selection/00003.parquet"
DOORS = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(0, 9))
COUNTS = st.builds(
    Counts, rows_in=st.integers(0, 99), kept=st.integers(0, 99), dropped=DOORS, failed=DOORS
)


@pytest.fixture
def store(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path))


def selection(*keys: str) -> pa.Table:
    rows = [{"key": key, "kept": True, "reason": ""} for key in keys]
    return pa.Table.from_pylist(rows, schema=SELECTION)


def write(store: Storage, table: pa.Table, counts: Counts) -> None:
    write_sidecar(
        store,
        PATH,
        table,
        make_origin("select", "f" * 32, table, counts, tar={"bytes": 7}, files=["a.tar"]),
    )


def test_a_side_car_says_what_made_it_and_what_became_of_its_rows(store: Storage):
    table = selection("a", "b")
    counts = Counts(rows_in=7, kept=2, dropped={"aspect_max": 3}, failed={"timeout": 2})
    write(store, table, counts)
    origin = read_origin(store, PATH)
    described = make_origin("select", "f" * 32, table, counts, tar={"bytes": 7}, files=["a.tar"])
    assert origin == replace(described, folder="selection")
    assert origin.counts.conserved


def test_a_side_car_of_an_earlier_release_is_refused(store: Storage):
    write(store, selection("a"), Counts())
    table = pq.read_table(pa.BufferReader(store.read(PATH)))
    said = json.loads(table.schema.metadata[b"vargpt"])
    said["dead"] = said.pop("failed")
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({b"vargpt": json.dumps(said)}), sink)
    store.commit_bytes(PATH, sink.getvalue().to_pybytes())
    with pytest.raises(EarlierReleaseError, match=f"{PATH}: was written by an earlier release"):
        read_origin(store, PATH)


def test_a_footer_of_any_length_is_read(store: Storage):
    counts = Counts(rows_in=9000, dropped={f"reason_{n}": 1 for n in range(9000)})
    write(store, selection("a"), counts)
    assert len(store.read(PATH)) > FOOTER_BYTES
    origin = read_origin(store, PATH)
    assert origin is not None
    assert origin.counts == counts


def test_a_side_car_keeps_rows_schema_and_meanings(store: Storage):
    write(store, selection("a", "b"), Counts())
    table = read_table(store, PATH)
    assert table.equals(selection("a", "b"))
    assert not table.schema.field("kept").nullable
    assert table.schema.field("kept").metadata == SELECTION.field("kept").metadata


def test_some_columns_can_be_read_alone(store: Storage):
    write(store, selection("a", "b"), Counts())
    table = read_table(store, PATH, ["key"])
    assert table.column_names == ["key"]
    assert column(table, "key") == ["a", "b"]


def test_equal_rows_make_equal_files(store: Storage):
    write(store, selection("a"), Counts())
    first = store.read(PATH)
    write(store, selection("a"), Counts())
    assert store.read(PATH) == first


def test_a_missing_side_car_has_no_origin_and_no_rows(store: Storage):
    assert read_origin(store, PATH) is None
    with pytest.raises(CorpusError, match=f"{PATH}: missing; run the build again"):
        read_table(store, PATH)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_side_car_cut_short_is_named(store: Storage, keep: int):
    write(store, selection("a"), Counts())
    store.commit_bytes(PATH, store.read(PATH)[:keep])
    for read in (read_origin, read_table):
        with pytest.raises(CorpusError, match=f"{PATH}: not a readable side-car"):
            read(store, PATH)


def test_a_flipped_byte_of_data_is_noticed(store: Storage):
    write(store, selection(*(f"{n:032x}" for n in range(100))), Counts())
    data = bytearray(store.read(PATH))
    data[60] ^= 1
    store.commit_bytes(PATH, bytes(data))
    with pytest.raises(CorpusError, match=f"{PATH}: not a readable side-car"):
        read_table(store, PATH)


def test_a_parquet_file_of_others_is_no_side_car(store: Storage):
    sink = pa.BufferOutputStream()
    pq.write_table(selection("a"), sink)
    store.commit_bytes(PATH, sink.getvalue().to_pybytes())
    with pytest.raises(CorpusError, match=f"{PATH}: not a side-car of ours"):
        read_origin(store, PATH)


def test_a_file_that_may_not_be_read_is_not_called_damaged(store: Storage):
    Path(store.root, PATH).mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        read_table(store, PATH)


def test_doors_are_counted_by_reason():
    rejects = [
        Reject(id="1", reason="timeout", detail=""),
        Reject(id="2", reason="robots_noai", detail="", dropped=True),
        Reject(id="3", reason="timeout", detail=""),
    ]
    counts = count(5, 2, rejects)
    assert counts == Counts(rows_in=5, kept=2, dropped={"robots_noai": 1}, failed={"timeout": 2})
    assert counts.conserved
    assert not count(6, 2, rejects).conserved


@settings(deadline=None)
@given(st.lists(COUNTS, max_size=5))
def test_counts_add_up_in_any_order(parts: list[Counts]):
    total = sum(parts, Counts())
    assert total == sum(reversed(parts), Counts())
    assert total.kept == sum(part.kept for part in parts)
    assert sum(total.failed.values()) == sum(sum(part.failed.values()) for part in parts)
    assert list(total.dropped) == sorted(total.dropped)


def test_dead_letters_hold_every_reject_in_order(store: Storage):
    rejects = [
        Reject(id="b", reason="timeout", detail="after 3 s"),
        Reject(id="a", reason="robots_noai", detail="asked for by the site", dropped=True),
    ]
    write_dead_letters(store, "crawl", 3, rejects)
    assert read_table(store, "dead_letters/crawl/00003.parquet").to_pylist() == [
        {"id": "a", "stage": "crawl", "outcome": "dropped", "reason": "robots_noai",
         "detail": "asked for by the site"},
        {"id": "b", "stage": "crawl", "outcome": "failed", "reason": "timeout",
         "detail": "after 3 s"},
    ]  # fmt: skip


def test_dead_letters_of_an_earlier_run_are_replaced_or_removed(store: Storage):
    write_dead_letters(store, "crawl", 3, [Reject(id="a", reason="timeout", detail="")])
    write_dead_letters(store, "crawl", 3, [Reject(id="b", reason="timeout", detail="")])
    assert column(read_table(store, dead_letters_path("crawl", 3)), "id") == ["b"]
    write_dead_letters(store, "crawl", 3, [])
    assert store.listing("dead_letters/crawl") == {}


def test_side_cars_are_numbered_as_their_shard():
    assert sidecar_path("raw", 7) == "raw/00007.parquet"


def test_the_footer_is_json_that_other_tools_can_read(store: Storage):
    write(store, selection("a"), Counts(rows_in=1, kept=1))
    metadata = pq.read_metadata(Path(store.root, PATH)).metadata
    assert json.loads(metadata[b"vargpt"])["rows_in"] == 1
