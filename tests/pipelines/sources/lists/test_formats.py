"""Lists in every format, compressed or not, give the rows of the plain one."""

import bz2
import gzip
import io
import json
import lzma
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.fetch.fetcher import FetchLimits
from pipelines.runtime.sidecar import Reject
from pipelines.sources import compressed
from pipelines.sources.listing import Listed, SourcePlan
from pipelines.sources.lists import json_arrays
from pipelines.sources.lists.json_arrays import array_items
from pipelines.sources.lists.reader import ListReader
from schemas.source_config import ListSource
from schemas.store.storage import CorpusError, Storage

URLS = [f"http://a.org/{n}.jpg" for n in range(5)]
TEXTS = ["a dog", "un caf\u00e9", "\U0001f600 smiles", 'a "quoted" word', "the last"]
ROWS = [{"url": url, "text": text} for url, text in zip(URLS, TEXTS, strict=True)]
TSV = "".join(f"{row['url']}\t{row['text']}\n" for row in [{"url": "url", "text": "text"}, *ROWS])
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS)
PACK = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def reader(path: Path | str, **source: Any) -> ListReader:
    return ListReader(ListSource(name="s", kind="list", path=str(path), **source), FetchLimits())


def plan(path: Path | str, rows_per_shard: int = 2, **source: Any) -> SourcePlan:
    folder = Path(path).parent
    return reader(path, **source).plan(rows_per_shard, Storage(str(folder / "out")))


def listed(path: Path | str, rows_per_shard: int = 2, **source: Any) -> list[Listed | Reject]:
    units = plan(path, rows_per_shard, **source).units
    return [row for unit in units for row in reader(path, **source).rows(unit)]


def expected(name: str) -> list[Listed]:
    return [Listed(id=f"{name} row {n + 1}", **row) for n, row in enumerate(ROWS)]


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return sink.getvalue().to_pybytes()


def arrow(*, stream: bool) -> bytes:
    sink, table = pa.BufferOutputStream(), pa.Table.from_pylist(ROWS)
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue().to_pybytes()


FORMATS = {
    "l.tsv": TSV.encode(),
    "l.jsonl": JSONL.encode(),
    "l.ndjson": JSONL.encode(),
    "L.JSONL": JSONL.encode(),
    "lines.json": JSONL.encode(),
    "array.json": json.dumps(ROWS).encode(),
    "array.jsonl": json.dumps(ROWS).encode(),
    "pretty.json": json.dumps(ROWS, indent=2).encode("utf-8-sig"),
    "l.parquet": parquet(),
    "l.arrow": arrow(stream=False),
    "stream.arrow": arrow(stream=True),
    "l.feather": arrow(stream=False),
    "wide.tsv": TSV.encode("utf-16"),
    "wide.json": json.dumps(ROWS).encode("utf-16"),
    "wider.jsonl": JSONL.encode("utf-32"),
    "mac.tsv": TSV.replace("\n", "\r").encode(),
    "mixed.tsv": (TSV.replace("\n", "\r") + "\n").encode(),
    "windows.tsv": TSV.replace("\n", "\r\n").encode(),
}


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("name", FORMATS)
def test_a_list_is_read_whatever_it_is_packed_in(name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(PACK[suffix](FORMATS[name]))
    assert listed(path) == expected(path.name)
    assert listed(path, rows_per_shard=100) == expected(path.name)


def test_what_is_unpacked_lies_in_the_corpus_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "l.tsv.gz").write_bytes(gzip.compress(TSV.encode()))
    (name,) = plan(tmp_path / "l.tsv.gz").files
    assert name.startswith("sources/unpacked-s-")
    assert (tmp_path / "out" / name).read_text() == TSV
    (tmp_path / "plain.tsv").write_text(TSV)
    assert plan(tmp_path / "plain.tsv").files == []


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2", ".xz"])
def test_every_part_of_a_concatenated_list_is_read(suffix: str, tmp_path: Path) -> None:
    half = TSV.encode().index(b"\n", len(TSV) // 2) + 1
    parts = [PACK[suffix](part) for part in (TSV.encode()[:half], TSV.encode()[half:])]
    path = tmp_path / f"l.tsv{suffix}"
    path.write_bytes(b"".join(parts))
    assert listed(path) == expected(path.name)


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2", ".xz"])
def test_a_damaged_or_cut_list_is_one_line_with_its_name(suffix: str, tmp_path: Path) -> None:
    whole = PACK[suffix](("url\ttext\n" + "".join(f"{n}\t{n * n}\n" for n in range(9999))).encode())
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    path = tmp_path / f"l.tsv{suffix}"
    for body in (whole[:-20], whole[: len(whole) // 2], bytes(damaged)):
        path.write_bytes(body)
        with pytest.raises(CorpusError) as caught:
            listed(path, rows_per_shard=20_000)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_suffix_may_lie_about_what_is_packed(tmp_path: Path) -> None:
    (tmp_path / "l.tsv").write_bytes(gzip.compress(TSV.encode()))
    (tmp_path / "plain.tsv.gz").write_bytes(TSV.encode())
    (tmp_path / "zst.tsv.gz").write_bytes(zstandard.compress(TSV.encode()))
    for name in ("l.tsv", "plain.tsv.gz", "zst.tsv.gz"):
        assert listed(tmp_path / name) == expected(name)


def test_a_bomb_is_refused_before_it_fills_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compressed, "ALWAYS_ALLOWED_BYTES", 1_000_000)
    for suffix in (".gz", ".zst", ".bz2", ".xz"):
        path = tmp_path / f"l.tsv{suffix}"
        path.write_bytes(PACK[suffix](b"url\ttext\n" + bytes(5_000_000)))
        with pytest.raises(CorpusError, match=f"l.tsv{suffix}: unpacks to over 300 times"):
            plan(path)
    assert not list((tmp_path / "out").rglob("unpacked*"))


def test_memory_does_not_grow_with_what_is_unpacked(tmp_path: Path) -> None:
    rows = [{"url": f"http://a.org/{n:01200}", "text": "a"} for n in range(10_000)]
    (tmp_path / "l.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    tracemalloc.start()
    found = plan(tmp_path / "l.json.gz", 100_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [unit.rows for unit in found.units] == [10_000]
    assert peak < 9_000_000 < sum(len(row["url"]) for row in rows)


def test_a_txt_list_has_a_url_a_line(tmp_path: Path) -> None:
    lines = ["# of 2026", URLS[0], "", f"  {URLS[1]} ", "#", "not a url", "  "]
    (tmp_path / "l.txt").write_text("\n".join(lines))
    for size in (1, 2, 100):
        one, two, bad = listed(tmp_path / "l.txt", size, columns={"text": ""})
        assert [one, two] == [Listed(id=f"l.txt row {n + 1}", url=URLS[n]) for n in range(2)]
        assert isinstance(bad, Reject)
        assert (bad.id, bad.reason) == ("l.txt row 3", "bad_url")
    found = plan(tmp_path / "l.txt", columns={"text": ""})
    assert found.passed_over == {"comment in a .txt list": 2}


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1]])
@pytest.mark.parametrize("indent", [None, 1])
def test_objects_in_a_json_are_rows_over_any_lines(
    rows: list[dict], indent: int | None, tmp_path: Path
) -> None:
    (tmp_path / "l.json").write_text("\n".join(json.dumps(row, indent=indent) for row in rows))
    assert listed(tmp_path / "l.json") == expected("l.json")[: len(rows)]


@pytest.mark.parametrize("name", ["l.txt", "l.txt.gz"])
def test_a_txt_list_has_no_captions_and_that_is_told(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = "\n".join(URLS).encode()
    (tmp_path / name).write_bytes(gzip.compress(body) if name.endswith("gz") else body)
    assert len(listed(tmp_path / name)) == len(URLS)
    assert "a .txt list has no captions" in capsys.readouterr().err
    with pytest.raises(CorpusError, match="column 'caption' is in no file"):
        plan(tmp_path / name, columns={"text": "caption"})


def test_what_is_no_list_beside_lists_is_passed_over_and_counted(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.tsv", "b.tsv"):
        (tmp_path / "in" / name).write_text(TSV)
    for name in ("._a.tsv", ".DS_Store", "README.md", "LICENSE", "x.md"):
        (tmp_path / "in" / name).write_bytes(b"\0\5\x16\7 Mac OS X")
    found = plan(f"{tmp_path}/in/*")
    hidden = [f"{tmp_path}/in/{name}" for name in ("._*", ".DS*")]
    assert sum(unit.rows or 0 for unit in found.units) == 10
    assert found.passed_over.items() >= {".md file": 2, "file without a suffix": 1}.items()
    for path in hidden:
        with pytest.raises(CorpusError, match="no such file that is read; passed over: 1 file of"):
            plan(path)


REFUSED = {
    "coco.json": (
        b'{\n "info": {},\n "images": []\n}',
        "no column 'url' among info, images; name it in columns: {url: COLUMN}; expected an array",
    ),
    "data.json": (b'{"data": [{"url": "x"}]}', "no column 'url' among data"),
    "text.json": (b"hello", "no JSON array of rows: it begins 'hello'"),
    "cut.json": (b'[{"url": "a"}, {"url": "b"', "item 1 cannot be read"),
    "bad.json": (b'[{"url": "a"} {"url": "b"}]', "after item 0 expected , or ]"),
    "two.json": (b'[{"url": "a"}][{"url": "b"}]', "text after the end of the array"),
    "le.csv": ("url,text\na,b\n".encode("utf-16-le"), "not text in UTF-8"),
    "odd.tsv": (b"\xff\xfeu\0r\0l\0\n", "odd.tsv: "),
    "l.parquet": (b"", "not a readable Parquet file"),
    "short.parquet": (parquet()[:-30], "not a readable Parquet file"),
    "text.parquet": (TSV.encode(), "not a readable Parquet file"),
    "l.arrow": (b"ARROW1\0\0nothing", "l.arrow: "),
    "l.feather": (TSV.encode(), "l.feather: "),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_list_of_its_format_is_one_line(name: str, tmp_path: Path) -> None:
    body, message = REFUSED[name]
    (tmp_path / name).write_bytes(body)
    with pytest.raises(CorpusError) as caught:
        listed(tmp_path / name)
    assert message in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_array_keeps_what_only_python_writes_and_odd_items_are_rows(tmp_path: Path) -> None:
    big = "9" * 30
    items = ['{"url": "http://a.org/1", "text": NaN}', "7", '"a"', "null"]
    items.append(f'{{"url": "http://a.org/2", "author": {big}}}')
    (tmp_path / "l.json").write_text(f"[{', '.join(items)}]")
    found = listed(tmp_path / "l.json")
    assert [getattr(row, "reason", "") for row in found] == ["", *["malformed_row"] * 3, ""]
    assert isinstance(found[4], Listed)
    assert found[4].author == big


def test_bytes_that_are_no_utf8_cost_their_item_alone(tmp_path: Path) -> None:
    body = json.dumps(ROWS, ensure_ascii=False).encode().replace(b"\xc3\xa9", b"\xe9")
    (tmp_path / "l.json").write_bytes(body)
    found = listed(tmp_path / "l.json")
    assert [isinstance(row, Reject) for row in found] == [False, True, False, False, False]


@settings(max_examples=60, deadline=None)
@given(
    items=st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda part: st.lists(part) | st.dictionaries(st.text(), part),
            max_leaves=6,
        ),
        max_size=6,
    ),
    indent=st.sampled_from([None, 0, 2]),
    chunk=st.integers(1, 20),
)
def test_items_of_an_array_are_those_of_the_whole(items: list, indent: Any, chunk: int) -> None:
    class Chunks:
        def __init__(self, text: str) -> None:
            self.text = text

        def read(self, length: int) -> str:
            part, self.text = self.text[:chunk], self.text[chunk:]
            return part

    text = json.dumps(items, indent=indent)
    found = [json.loads(item) for item in array_items(Chunks(text))]
    assert json.dumps(found) == json.dumps(items)


def test_an_endless_item_is_not_held(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(json_arrays, "MAX_ITEM_CHARS", 2_000_000)
    (tmp_path / "l.json").write_text('[{"url": "a"}, "' + "x" * 9_000_000 + '"]')
    with pytest.raises(CorpusError, match="item 1 cannot be read"):
        plan(tmp_path / "l.json")


@pytest.mark.parametrize("name", ["l.json", "l.csv", "l.txt", "l.jsonl", "l.csv.gz", "l.arrow"])
def test_an_empty_list_has_no_rows_or_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    if name == "l.arrow":
        with pytest.raises(CorpusError, match=r"l\.arrow: "):
            plan(tmp_path / name)
    else:
        assert listed(tmp_path / name) == []


def test_offsets_that_lead_out_of_an_arrow_file_do_not_end_the_process(tmp_path: Path) -> None:
    path, table = tmp_path / "l.arrow", pa.table({"url": URLS[:1], "text": ["x" * 12_345]})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    end, out = ((0).to_bytes(4, "little") + n.to_bytes(4, "little") for n in (12_345, 10**9))
    before, _, after = path.read_bytes().rpartition(end)
    path.write_bytes(before + out + after)
    with pytest.raises(CorpusError, match=r"l\.arrow: "):
        listed(path)


def arrow_batch(**columns: Any) -> bytes:
    batch = pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
    file = io.BytesIO()
    with pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)
    return file.getvalue()


def test_an_index_out_of_a_dictionary_is_found_beside_text_that_is_not_utf8(
    tmp_path: Path,
) -> None:
    bytes_ = pa.array([b"\xe9", b"ok"]).buffers()
    words = pa.Array.from_buffers(pa.string(), 2, bytes_)
    for index, lists in ((500_000_000, False), (-7, False), (500_000_000, True)):
        text = pa.DictionaryArray.from_arrays(pa.array([0, index], pa.int32()), words, safe=False)
        if lists:
            text = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), text)
        (tmp_path / "l.arrow").write_bytes(arrow_batch(url=pa.array(URLS[:2]), text=text))
        with pytest.raises(CorpusError, match=r"l\.arrow: .*out of bounds") as caught:
            listed(tmp_path / "l.arrow")
        assert "\n" not in str(caught.value)
    (tmp_path / "l.arrow").write_bytes(arrow_batch(url=pa.array(URLS[:2]), text=words))
    bad, good = listed(tmp_path / "l.arrow")
    assert isinstance(bad, Reject)
    assert isinstance(good, Listed)


def test_a_column_of_arrow_that_parquet_cannot_hold_matters_only_if_it_is_read(
    tmp_path: Path,
) -> None:
    odd = pa.array([None, None], pa.month_day_nano_interval())
    urls = pa.array(URLS[:2])
    (tmp_path / "l.arrow").write_bytes(arrow_batch(url=urls, text=urls, odd=odd))
    assert [getattr(row, "text", row) for row in listed(tmp_path / "l.arrow")] == URLS[:2]
    with pytest.raises(CorpusError, match=r"columns found: url, text, odd;"):
        plan(tmp_path / "l.arrow", columns={"text": "caption"})
    with pytest.raises(CorpusError, match=r"l\.arrow: Unhandled type"):
        plan(tmp_path / "l.arrow", columns={"text": "odd"})
