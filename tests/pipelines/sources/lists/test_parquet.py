"""Values that Parquet holds and Python, or a text, does not."""

import datetime
import decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from pipelines.fetch.fetcher import FetchLimits
from pipelines.runtime.sidecar import Reject
from pipelines.sources.listing import Listed
from pipelines.sources.lists.reader import ListReader
from schemas.source_config import ListSource
from schemas.store.storage import CorpusError, Storage

URLS = [f"http://a.org/{n}" for n in range(3)]
NOT_UTF8 = b"caf\xe9"


def listed(path: Path | str, rows_per_shard: int = 2, **source: Any) -> list[Listed | Reject]:
    read = ListReader(ListSource(name="s", kind="list", path=str(path), **source), FetchLimits())
    store = Storage("memory://unused")
    return [row for unit in read.plan(rows_per_shard, store).units for row in read.rows(unit)]


def as_strings(values: list[bytes], kind: Any = None) -> pa.Array:
    """Return bytes as a string column, UTF-8 or not, as other languages write them."""
    small = pa.array(values, pa.binary())
    array = pa.Array.from_buffers(pa.string(), len(values), small.buffers())
    return array if kind is None else array.dictionary_encode()


def words(found: list[Listed | Reject]) -> list[str]:
    return [row.reason if isinstance(row, Reject) else row.text for row in found]


@pytest.mark.parametrize("rows_per_shard", [1, 2, 100])
def test_text_that_is_not_utf8_costs_its_row_alone(rows_per_shard: int, tmp_path: Path) -> None:
    path = tmp_path / "l.parquet"
    pq.write_table(pa.table({"url": URLS, "text": as_strings([b"a", NOT_UTF8, b"c"])}), path)
    found = listed(path, rows_per_shard)
    assert words(found) == ["a", "malformed_row", "c"]
    assert isinstance(found[1], Reject)
    assert found[1].id == "l.parquet row 2"
    assert found[1].detail.startswith("column 'text', of type string: 'utf-8' codec can't decode")


def test_text_that_is_not_utf8_is_found_in_any_column_and_inside_lists(tmp_path: Path) -> None:
    path = tmp_path / "l.parquet"
    bad = as_strings([b"a", NOT_UTF8, b"c"])
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), bad)
    structs = pa.StructArray.from_arrays([bad], ["en"])
    for columns in (
        {"url": bad, "text": URLS},
        {"url": URLS, "text": lists},
        {"url": URLS, "text": as_strings([b"a", NOT_UTF8, b"c"], kind="dictionary")},
        {"url": URLS, "text": pa.array([b"a", NOT_UTF8, b"c"], pa.binary())},
        {"url": URLS, "text": URLS, "tags": lists},
    ):
        pq.write_table(pa.table(columns), path)
        assert [word == "malformed_row" for word in words(listed(path))][1]
    pq.write_table(pa.table({"url": URLS, "x": structs}), path)
    found = words(listed(path, columns={"text": "x.en"}))
    assert found == ["a", "malformed_row", "c"]
    pq.write_table(pa.table({"url": URLS, "text": URLS, "unread": bad}), path)
    assert words(listed(path)) == URLS


TEXTS: dict[str, tuple[Any, list[str]]] = {
    "int": (pa.array([1, None, 3]), ["malformed_row", "", "malformed_row"]),
    "float": (pa.array([1.5, float("nan"), None]), ["malformed_row", "", ""]),
    "bool": (pa.array([True, False, None]), ["malformed_row", "malformed_row", ""]),
    "null": (pa.nulls(3), ["", "", ""]),
    "decimal": (pa.array([decimal.Decimal("1.20"), None, None]), ["malformed_row", "", ""]),
    "large string": (pa.array(["a", None, "c"], pa.large_string()), ["a", "", "c"]),
    "string view": (pa.array(["a", None, "c"], pa.string_view()), ["a", "", "c"]),
    "binary": (pa.array([b"a", None, b"c"], pa.binary()), ["a", "", "c"]),
    "dictionary": (pa.array(["a", None, "a"]).dictionary_encode(), ["a", "", "a"]),
    "list": (pa.array([["a", "b"], None, []]), ["a", "", ""]),
    "large list": (pa.array([["a"], None, []], pa.large_list(pa.string())), ["a", "", ""]),
    "fixed list": (pa.array([["a", "b"]] * 3, pa.list_(pa.string(), 2)), ["a"] * 3),
    "date": (pa.array([datetime.date(2026, 1, 2), None, None]), ["malformed_row", "", ""]),
    "date out of range": (
        pa.array([0, 10**9, None], pa.date32()),
        ["malformed_row", "malformed_row", ""],
    ),
    "time out of range": (
        pa.array([0, 2**62, None], pa.timestamp("us")),
        ["malformed_row", "malformed_row", ""],
    ),
    "duration": (pa.array([0, 1, None], pa.duration("s")), ["malformed_row", "malformed_row", ""]),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_column_of_any_type_is_text_or_malformed(name: str, tmp_path: Path) -> None:
    path = tmp_path / "l.parquet"
    column, wanted = TEXTS[name]
    pq.write_table(pa.table({"url": URLS, "text": column}), path)
    assert words(listed(path)) == wanted


@pytest.mark.parametrize("name", TEXTS)
def test_a_url_column_of_any_type_gives_dead_rows_at_most(name: str, tmp_path: Path) -> None:
    path = tmp_path / "l.parquet"
    pq.write_table(pa.table({"url": TEXTS[name][0], "text": URLS}), path)
    found = listed(path)
    assert len(found) == 3
    assert {row.reason for row in found if isinstance(row, Reject)} <= {
        "missing_url",
        "bad_url",
        "malformed_row",
    }
    assert all(isinstance(row, Reject) for row in found)


def test_files_of_other_types_are_read_together(tmp_path: Path) -> None:
    for name, text in {"a": ["x"], "b": [1], "c": [["y"]], "d": [b"z"]}.items():
        pq.write_table(pa.table({"url": URLS[:1], "text": text}), tmp_path / f"{name}.parquet")
    empty = pa.table({"url": pa.array([], pa.string()), "text": pa.array([], pa.string())})
    pq.write_table(empty, tmp_path / "e.parquet")
    assert words(listed(f"{tmp_path}/*.parquet")) == ["x", "malformed_row", "y", "z"]


def test_a_column_that_is_named_twice_is_refused_if_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "l.parquet"
    twice = pa.Table.from_arrays([pa.array(URLS)] * 3, names=["url", "text", "text"])
    pq.write_table(twice, path)
    with pytest.raises(CorpusError, match="more than one column is named text"):
        listed(path)


def test_an_encrypted_file_is_one_line_with_its_name(tmp_path: Path) -> None:
    class Keys(pe.KmsClient):
        def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
            return key_bytes

        def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
            return wrapped_key

    factory = pe.CryptoFactory(lambda _: Keys())
    config = pe.EncryptionConfiguration(footer_key="k", uniform_encryption=True)
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), config)
    path = tmp_path / "l.parquet"
    pq.write_table(pa.table({"url": URLS}), path, encryption_properties=properties)
    with pytest.raises(CorpusError, match=r"l\.parquet: not a readable Parquet file") as caught:
        listed(path)
    assert "\n" not in str(caught.value)
