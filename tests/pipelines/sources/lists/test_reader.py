"""Lists are cut into units that together are the file, whatever stands in it."""

import csv
import io
import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.spec import AbstractBufferedFile
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.fetch.fetcher import FetchLimits
from pipelines.runtime.sidecar import Reject
from pipelines.sources.listing import Listed, Unit
from pipelines.sources.lists import text as text_lists
from pipelines.sources.lists.files import read_rows
from pipelines.sources.lists.reader import ListReader
from schemas.source_config import Columns, ListSource
from schemas.store.storage import CorpusError, Storage

STORE = Storage("memory://unused")
LIMITS = FetchLimits()
FIELDS = ("url", "text", "tags")
# Text that UTF-8 holds, with all that CSV makes something of; NULs are malformed, so none here.
CELLS = st.text(st.sampled_from("ab ,;\t\"'\n\r\ufeff\u2028\u00e9\U0001f600\x0b"), max_size=8)
PLACE = "memory://lists/it"


def reader(path: str, **source: Any) -> ListReader:
    source.setdefault("columns", {"text": ""})  # most lists here have no captions
    return ListReader(ListSource(name="s", kind="list", path=path, **source), LIMITS)


def write(body: bytes, suffix: str) -> str:
    fsspec.filesystem("memory").pipe_file(f"/lists/it.{suffix}", body)
    return f"{PLACE}.{suffix}"


def units_of(path: str, rows_per_shard: int, quoting: str = "quotes") -> Sequence[Unit]:
    return reader(path, quoting=quoting).plan(rows_per_shard, STORE).units


def raw_rows(units: Sequence[Unit], quoting: str = "quotes") -> list[Any]:
    return [row for unit in units for _, row in read_rows(unit, Columns(), quoting)]


def listed(path: str, rows_per_shard: int = 2, **source: Any) -> list[Listed | Reject]:
    read = reader(path, **source)
    return [row for unit in read.plan(rows_per_shard, STORE).units for row in read.rows(unit)]


def bounds_are_right(units: Sequence[Unit], rows: int, rows_per_shard: int) -> None:
    assert [unit.first_row for unit in units] == list(range(0, rows, rows_per_shard))
    assert [unit.start for unit in units[1:]] == [unit.end for unit in units[:-1]]


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=9),
    rows_per_shard=st.integers(1, 5),
    delimiter=st.sampled_from([(",", "csv"), ("\t", "tsv")]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    bom=st.booleans(),
    blanks=st.integers(0, 3),
    cut=st.booleans(),
)
def test_units_of_a_csv_are_together_what_dictreader_reads(
    rows: list[list[str]],
    rows_per_shard: int,
    delimiter: tuple[str, str],
    line_end: str,
    quoting: int,
    bom: bool,
    blanks: int,
    cut: bool,
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter[0], lineterminator=line_end, quoting=quoting)
    writer.writerow(FIELDS)
    for number, row in enumerate(rows):
        text.write(line_end * (blanks if number % 2 else 0))
        # Python 3.11 writes a bare carriage return unquoted, which is then no cell any more.
        writer.writerow(row if quoting else [cell.replace("\r", "") for cell in row])
    whole = text.getvalue()
    whole = whole.removesuffix(line_end) if cut else whole
    wanted = list(csv.DictReader(io.StringIO(whole, newline=""), delimiter=delimiter[0]))
    path = write(("\ufeff" * bom + whole).encode(), delimiter[1])
    units = units_of(path, rows_per_shard)
    assert raw_rows(units) == wanted
    bounds_are_right(units, len(wanted), rows_per_shard)


@settings(max_examples=100, deadline=None)
@given(
    body=st.lists(
        st.sampled_from(
            [b"a", b",", b'"', b"\n", b"\r\n", b"\r", b"\0", b"\xff", b"\xc3\xa9", b"x" * 140_000]
        ),
        max_size=30,
    ),
    rows_per_shard=st.integers(1, 4),
)
def test_where_a_csv_is_cut_does_not_change_what_is_read_even_of_broken_bytes(
    body: list[bytes], rows_per_shard: int
) -> None:
    path = write(b"url,text,tags\n" + b"".join(body), "csv")
    whole, parts = units_of(path, 1000), units_of(path, rows_per_shard)
    assert raw_rows(parts) == raw_rows(whole)
    bounds_are_right(parts, len(raw_rows(whole)), rows_per_shard)


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(st.dictionaries(CELLS, st.one_of(CELLS, st.none(), st.lists(CELLS)), max_size=3)),
    rows_per_shard=st.integers(1, 5),
    line_end=st.sampled_from(["\n", "\r\n", "\n \n"]),
    ascii_only=st.booleans(),
    bom=st.booleans(),
    cut=st.booleans(),
)
def test_units_of_a_jsonl_are_together_json_line_by_line(
    rows: list[dict],
    rows_per_shard: int,
    line_end: str,
    ascii_only: bool,
    bom: bool,
    cut: bool,
) -> None:
    rows = [{"url": ""}, *rows]
    lines = [json.dumps(row, ensure_ascii=ascii_only) for row in rows]
    text = line_end.join(lines) + ("" if cut else line_end)
    units = units_of(write(("\ufeff" * bom + text).encode(), "jsonl"), rows_per_shard)
    assert raw_rows(units) == rows
    bounds_are_right(units, len(rows), rows_per_shard)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(CELLS, st.one_of(st.none(), CELLS), st.lists(CELLS)), max_size=20),
    rows_per_shard=st.integers(1, 7),
    group_rows=st.integers(1, 9),
)
def test_units_of_a_parquet_file_are_together_the_table(
    rows: list[tuple], rows_per_shard: int, group_rows: int
) -> None:
    values = [dict(zip(FIELDS, row, strict=True)) for row in rows]
    text, tags = pa.string(), pa.list_(pa.string())
    schema = pa.schema([("url", text), ("text", text), ("tags", tags), ("other", text)])
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(values, schema=schema), sink, row_group_size=group_rows)
    units = units_of(write(sink.getvalue(), "parquet"), rows_per_shard)
    assert raw_rows(units) == values
    bounds_are_right(units, len(rows), rows_per_shard)


def test_a_large_row_group_is_read_by_parts_of_batches(tmp_path: Path) -> None:
    path = tmp_path / "l.parquet"
    pq.write_table(pa.table({"url": [f"http://a.org/{n}" for n in range(10_000)]}), path)
    unit = reader(str(path)).plan(3000, STORE).units[1]
    rows = [row["url"] for _, row in read_rows(unit, Columns()) if isinstance(row, dict)]
    assert rows == [f"http://a.org/{n}" for n in range(3000, 6000)]


def test_columns_are_mapped_and_absent_or_null_values_are_empty(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    path.write_text(
        '{"URL": " http://a.org/1 ", "alt": null, "keywords": "x, y,,z", "by": 7}\n'
        '{"URL": "http://a.org/2", "alt": NaN, "keywords": ["p", null, " q "], "by": {}}\n'
        '{"URL": "http://a.org/3", "alt": "half \\ud83d"}\n'
    )
    columns = Columns(url="URL", text="alt", tags="keywords", author="by")
    one, two, three = listed(str(path), columns=columns)
    assert one == Listed(id="l.jsonl row 1", url="http://a.org/1", tags=("x", "y", "z"), author="7")
    assert two == Listed(id="l.jsonl row 2", url="http://a.org/2", tags=("p", "q"))
    assert three == Listed(id="l.jsonl row 3", url="http://a.org/3", text="half ?")


def test_a_csv_row_may_lack_cells_of_columns_that_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("url,text,width\nhttp://a.org/1,a\nhttp://a.org/2\n")
    whole, cut = listed(str(path), columns={})
    assert whole == Listed(id="l.csv row 1", url="http://a.org/1", text="a")
    assert isinstance(cut, Reject)
    assert (cut.reason, cut.detail[:26]) == ("malformed_row", "1 cells under 3 columns: [")


CSV_FAULTS = {
    b"http://a.org/x,b,c\n": "3 cells under 2 columns",
    b"http://a.org/x,\0\n": "a NUL byte",
    b"http://a.org/x," + b"y" * 131_073 + b"\n": "a row of 131,088 characters",
    b'http://a.org/x,"' + b"y" * 131_073 + b'"\n': "a cell of more than 131,072 characters",
    b"http://a.org/x,caf\xe9\n": "can't decode byte 0xe9",
    b'http://a.org/x,"caf\xe9\nsecond line"\n': "can't decode byte 0xe9",
    b"http://a.org/x\ry,z\n": "a carriage return inside a row",
}


@pytest.mark.parametrize("line", CSV_FAULTS, ids=CSV_FAULTS.values())
def test_a_malformed_csv_row_is_a_dead_letter_and_the_rest_goes_on(
    line: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "l.csv"
    path.write_bytes(b"url,text\nhttp://a.org/1,a\n" + line + b"http://a.org/2,b\n")
    one, fault, two = listed(str(path), rows_per_shard=1, columns={})
    assert [one, two] == [
        Listed(id="l.csv row 1", url="http://a.org/1", text="a"),
        Listed(id="l.csv row 3", url="http://a.org/2", text="b"),
    ]
    assert isinstance(fault, Reject)
    assert (fault.id, fault.reason, fault.dropped) == ("l.csv row 2", "malformed_row", False)
    assert CSV_FAULTS[line] in fault.detail


@pytest.mark.parametrize(
    "line", [b"{", b"[1]", b'"a"', b"[" * 100_000, b'{"url": "\xff"}', b"1" * 5000, b"\0"]
)
def test_a_malformed_jsonl_row_is_a_dead_letter_and_the_rest_goes_on(
    line: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "l.jsonl"
    path.write_bytes(b'{"url": "http://a.org/1"}\n' + line + b'\n{"url": "http://a.org/2"}')
    one, fault, two = listed(str(path))
    assert [one, two] == [
        Listed(id="l.jsonl row 1", url="http://a.org/1"),
        Listed(id="l.jsonl row 3", url="http://a.org/2"),
    ]
    assert isinstance(fault, Reject)
    assert (fault.id, fault.reason) == ("l.jsonl row 2", "malformed_row")
    assert len(fault.detail) < 400


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("l.csv", "url\nhttp://a.org/1\n{}\nhttp://a.org/2"),
        ("l.jsonl", '{{"url": "http://a.org/1"}}\n{}\n{{"url": "http://a.org/2"}}'),
    ],
)
def test_an_endless_line_is_a_dead_letter_and_never_held_whole(
    name: str, body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_lists, "MAX_LINE_BYTES", 50)
    (tmp_path / name).write_text(body.format("x" * 220))
    one, fault, two = listed(str(tmp_path / name), rows_per_shard=1)
    assert one == Listed(id=f"{name} row 1", url="http://a.org/1")
    assert two == Listed(id=f"{name} row 3", url="http://a.org/2")
    assert isinstance(fault, Reject)
    assert "a line of more than 50 bytes" in fault.detail


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_memory_does_not_grow_with_the_list(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"l.{suffix}"
    rows, length = (15_000, 300) if suffix == "parquet" else (4_000, 1500)
    urls = [f"http://a.org/{n:0{length}}" for n in range(rows)]
    if suffix == "parquet":
        pq.write_table(pa.table({"url": urls}), path)
    elif suffix == "csv":
        path.write_text("url\n" + "\n".join(urls))
    else:
        path.write_text("\n".join(json.dumps({"url": url}) for url in urls))
    read = reader(str(path))
    tracemalloc.start()
    (unit,) = read.plan(100_000, STORE).units
    assert sum(isinstance(row, Listed) for row in read.rows(unit)) == len(urls)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000 < sum(map(len, urls))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "missing_url"),
        (None, "missing_url"),
        ("  ", "missing_url"),
        ([], "missing_url"),
        (["http://a.org"], "malformed_row"),
        ({"href": "http://a.org"}, "malformed_row"),
        ("a.png", "bad_url"),
        ("file:///etc/passwd", "bad_url"),
        ("data:image/png;base64,AAAA", "bad_url"),
        ("http://[::1", "bad_url"),
        ("http://a.org/\ud800", "bad_url"),
        ("http://user:word@a.org/", "bad_url"),
    ],
)
@pytest.mark.parametrize("base_url", ["", "http://a.org/"])
def test_a_row_without_a_usable_url_is_a_dead_letter(
    url: Any, reason: str, base_url: str, tmp_path: Path
) -> None:
    if url == "a.png" and base_url:
        return
    path = tmp_path / "l.jsonl"
    path.write_text(json.dumps({"url": url}))
    (row,) = listed(str(path), base_url=base_url)
    assert isinstance(row, Reject)
    assert (row.id, row.reason, row.dropped) == ("l.jsonl row 1", reason, False)
    row.detail.encode()


def test_a_relative_url_is_joined_to_the_base_url_and_keyed_as_listed(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("url\npics/a.png\nhttp://b.org/c.png\n")
    rows = listed(str(path), base_url="http://a.org/x/")
    assert [row.url for row in rows if isinstance(row, Listed)] == [
        "pics/a.png",
        "http://b.org/c.png",
    ]


@pytest.mark.parametrize("name", ["l.orc", "l.xlsx", "l", "l.csv.7z", "._l.csv"])
def test_a_list_of_another_format_is_refused_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"url\n")
    with pytest.raises(
        CorpusError, match=rf"{name}: expected a list in \.csv, .*, also compressed"
    ):
        listed(str(tmp_path / name))


def test_a_list_without_the_url_column_is_refused_before_it_is_counted(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("URL,text\nhttp://a.org/1,a\n")
    pq.write_table(pa.table({"URL": ["x"], "text": ["y"]}), tmp_path / "l.parquet")
    for name in ("l.csv", "l.parquet"):
        with pytest.raises(CorpusError, match=f"{name}: no column 'url' among URL, text"):
            listed(str(tmp_path / name))


def test_a_broken_parquet_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "l.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(CorpusError, match=r"l\.parquet: not a readable Parquet file"):
        listed(str(tmp_path / "l.parquet"))


def test_damage_inside_a_parquet_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "l.parquet"
    pq.write_table(pa.table({"url": [f"http://a.org/{n}" for n in range(5000)]}), path)
    body = bytearray(path.read_bytes())
    body[4:200] = b"\xff" * 196
    path.write_bytes(body)
    with pytest.raises(CorpusError, match=r"l\.parquet: not a readable Parquet file"):
        listed(str(path))


@pytest.mark.parametrize("body", [b"", b"\n\n", b"url\n", b"\xef\xbb\xbf"])
def test_a_list_without_rows_has_no_units(body: bytes, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_bytes(body)
    assert listed(str(tmp_path / "l.csv")) == []


def test_a_glob_is_read_in_name_order_and_its_files_are_told_apart(tmp_path: Path) -> None:
    for folder in ("b", "a"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "l.csv").write_text(f"url\nhttp://{folder}.org/\n\nx\n")
    rows = listed(f"{tmp_path}/*/l.csv")
    assert [row.id for row in rows] == [
        "a/l.csv row 1",
        "a/l.csv row 2",
        "b/l.csv row 1",
        "b/l.csv row 2",
    ]


def test_a_file_whose_name_looks_like_a_glob_is_found(tmp_path: Path) -> None:
    (tmp_path / "l[1].csv").write_text("url\nhttp://a.org/\n")
    assert [row.id for row in listed(f"{tmp_path}/l[1].csv")] == ["l[1].csv row 1"]


def test_a_chained_url_is_refused() -> None:
    with pytest.raises(CorpusError, match="chained URLs"):
        listed("zip://l.csv::/tmp/a.zip")


class _Far(AbstractBufferedFile):
    """A file as object stores give it, fetched by ranges."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self.fs.cat_file(self.path, start, end)


def test_a_list_is_streamed_from_a_file_that_is_fetched_by_ranges() -> None:
    body = b"url\n" + b"".join(b"http://a.org/%d\n" % n for n in range(5000))
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/far.csv", body)
    lines = text_lists.Lines(io.BufferedReader(_Far(fs, "/far.csv", "rb", 1000, size=len(body))))
    assert "".join(line.text for line in iter(lines.take, None)) == body.decode()


def test_a_number_is_no_caption_but_may_be_a_title(tmp_path: Path) -> None:
    rows = [
        {"url": "http://a.org/1", "text": 5},
        {"url": "http://a.org/2", "text": "a", "title": 1984},
    ]
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, rows)))
    fault, titled = listed(f"{tmp_path}/l.jsonl", columns={})
    assert isinstance(fault, Reject)
    assert fault.detail == "column 'text' is a number, expected text: 5"
    assert isinstance(titled, Listed)
    assert titled.title == "1984"


def test_messages_name_a_local_list_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("link,text\nhttp://a.org/1,a\n")
    with pytest.raises(CorpusError, match=f"^{tmp_path}/l.csv: no column 'url'"):
        listed(f"file://{tmp_path}/l.csv")
