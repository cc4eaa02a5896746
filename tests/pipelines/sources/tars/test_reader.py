"""Tars are read where they lie: every sample once, damage said, nothing trusted."""

import hashlib
import io
import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.runtime.sidecar import Reject
from pipelines.runtime.stage import ShardResult, run_shard
from pipelines.sources.listing import Listed, PassedOver
from pipelines.sources.plan import make_plan
from pipelines.sources.raw_shard import RawShard
from pipelines.sources.tars.reader import TarReader
from pipelines.stages.ingest import Ingest
from schemas.recipe import Recipe
from schemas.source_config import TarSource
from schemas.store.storage import CorpusError, Storage

MAX_BYTES = 2000
JPEG = b"\xff\xd8\xff a jpeg"
STORE = Storage("memory://unused")


def tar_of(*members: tuple[str, bytes | str], end: bool = True) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, body in members:
            data = body if isinstance(body, bytes) else body.encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        size = tar.offset
    return file.getvalue() if end else file.getvalue()[:size]


def reader(path: Path | str, **source: Any) -> TarReader:
    source.setdefault("columns", {"text": ""})  # few of the images have a text
    return TarReader(TarSource(name="s", kind="webdataset", path=str(path), **source), MAX_BYTES)


def listed(path: Path | str, **source: Any) -> list[Listed | Reject]:
    return [row for row in found(path, **source) if not isinstance(row, PassedOver)]


def passed_over(path: Path | str, **source: Any) -> dict[str, int]:
    count = Counter[str]()
    for row in found(path, **source):
        if isinstance(row, PassedOver):
            count[row.what] += row.count
    return dict(count)


def found(path: Path | str, **source: Any) -> list[Listed | Reject | PassedOver]:
    read = reader(path, **source)
    return [row for unit in read.plan(1, STORE).units for row in read.rows(unit)]


def rows_of(tmp_path: Path, *members: tuple[str, bytes | str]) -> list[Listed | Reject]:
    (tmp_path / "t.tar").write_bytes(tar_of(*members))
    return listed(tmp_path / "t.tar")


def acquired(path: Path | str, scratch: Path) -> ShardResult:
    """Run ingest, then this reader over what ingest wrote."""
    store = Storage(str(scratch / "out"))
    recipe = Recipe(name="r", sources=(reader(path).source,))
    (unit,) = make_plan(recipe, store)
    run_shard(Ingest(sources=recipe.sources, crawl=recipe.crawl), 0, store)
    rows = pq.read_table(scratch / "out/sources/00000.parquet")
    raw = RawShard(0, scratch)
    reader(path).acquire(unit, rows, raw)
    return raw.finish(rows.num_rows)


def urls(rows: list[Listed | Reject]) -> list[str]:
    return [row.url for row in rows if isinstance(row, Listed)]


def reasons(rows: list[Listed | Reject]) -> list[str]:
    return [row.reason for row in rows if isinstance(row, Reject)]


def test_samples_written_by_webdataset_are_read(tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "t.tar")) as tar:
        described = {"caption": "from json", "tags": ["x"], "licence": "CC0"}
        tar.write({"__key__": "a/b/1", "png": b"one", "txt": "from txt", "json": described})
        tar.write({"__key__": "a/b/2", "webp": b"two", "json": described})
        tar.write({"__key__": "a/b/3", "jpeg": b"three", "cls": 7})
    one, two, three = listed(tmp_path / "t.tar", columns={})
    assert isinstance(one, Listed)
    assert isinstance(two, Listed)
    assert isinstance(three, Listed)
    assert one.url == "t.tar::a/b/1.png"
    assert (one.text, one.tags, one.licence) == ("from txt", ("x",), "CC0")
    assert (two.url, two.text) == ("t.tar::a/b/2.webp", "from json")
    assert (three.url, three.text) == ("t.tar::a/b/3.jpeg", "")


def test_the_first_image_of_a_sample_is_taken_and_a_plain_one_before_others(
    tmp_path: Path,
) -> None:
    rows = rows_of(
        tmp_path,
        ("1.png", b"first"),
        ("1.jpg", b"second"),
        ("2.depth.png", b"depth"),
        ("2.jpg", b"image"),
        ("3.left.jpg", b"left"),
        ("3.right.jpg", b"right"),
        ("3.json", "{}"),
    )
    assert urls(rows) == ["t.tar::1.png", "t.tar::2.jpg", "t.tar::3.left.jpg"]
    assert passed_over(tmp_path / "t.tar") == {"further image of a sample": 3}


def test_samples_without_an_image_are_dead_letters_the_last_one_too(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, ("1.txt", "a"), ("2.jpg", JPEG), ("3.txt", "b"), ("3.json", "{}"))
    assert urls(rows) == ["t.tar::2.jpg"]
    first, last = (row for row in rows if isinstance(row, Reject))
    assert (first.id, first.reason) == ("t.tar::1", "no_image")
    assert last.id == "t.tar::3"
    assert last.detail.startswith("its members: .txt .json; the tar holds no image of this")


def test_a_broken_text_is_a_dead_letter_and_the_rest_goes_on(tmp_path: Path) -> None:
    rows = rows_of(
        tmp_path,
        ("1.jpg", JPEG),
        ("1.json", "{"),
        ("2.jpg", JPEG),
        ("2.txt", b"\xff"),
        ("3.jpg", JPEG),
        ("3.txt", b"x" * 1_000_001),
        ("4.jpg", JPEG),
    )
    assert reasons(rows) == ["malformed_text"] * 3
    assert urls(rows) == ["t.tar::4.jpg"]


def test_devices_and_names_that_are_no_samples_are_counted(tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for number, kind in enumerate((tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)):
            member = tarfile.TarInfo(f"{number}.jpg")
            member.type = kind
            tar.addfile(member)
        for name in ("._a.jpg", "__MACOSX/._b.jpg", "README", ".jpg", "ok.jpg"):
            member = tarfile.TarInfo(name)
            member.size = len(JPEG)
            tar.addfile(member, io.BytesIO(JPEG))
    (tmp_path / "t.tar").write_bytes(file.getvalue())
    assert [row.id for row in listed(tmp_path / "t.tar")] == ["t.tar::ok"]
    assert passed_over(tmp_path / "t.tar") == {
        "pipe, socket or device": 2,
        "file of macOS or Windows (._*, .DS_Store, Thumbs.db)": 2,
        "file without a suffix": 2,
    }


def test_absurd_names_are_only_names(tmp_path: Path) -> None:
    names = ["../../up.jpg", "/etc/root.jpg", "x" * 300 + ".jpg", "caf\udce9.jpg", "a\nb.jpg"]
    rows = rows_of(tmp_path, *((name, JPEG) for name in names))
    assert len(urls(rows)) == 5
    assert urls(rows)[3] == "t.tar::caf\\udce9.jpg"
    outcome = acquired(tmp_path / "t.tar", tmp_path)
    assert (outcome.table.num_rows, len(outcome.rejects)) == (5, 0)


def test_bytes_are_referenced_where_they_lie(tmp_path: Path) -> None:
    bodies = [bytes([n]) * (n * 300 + 1) for n in range(6)]
    members = [(f"{n}.jpg", body) for n, body in enumerate(bodies)]
    (tmp_path / "t.tar").write_bytes(tar_of(*members, ("7.jpg", bytes(2001)), ("8.jpg", b"")))
    outcome = acquired(tmp_path / "t.tar", tmp_path)
    assert not outcome.files
    assert sorted(reject.reason for reject in outcome.rejects) == ["empty_file", "too_large"]
    rows = outcome.table.to_pylist()
    assert {row["file"] for row in rows} == {f"file://{tmp_path}/t.tar"}
    found = STORE.read_ranges([(row["file"], row["offset"], row["length"]) for row in rows])
    assert sorted(found) == sorted(bodies)
    assert [hashlib.sha256(body).hexdigest() for body in found] == [r["sha256"] for r in rows]


@pytest.mark.parametrize("between", [[], [("0.txt", "")]])
def test_two_members_of_one_name_are_two_samples_with_their_own_bytes(
    between: list, tmp_path: Path
) -> None:
    described = [("1.json", json.dumps({"url": f"http://{n}.org", "caption": n})) for n in "ab"]
    members = [("1.jpg", b"one"), described[0], *between, ("1.jpg", b"two"), described[1]]
    (tmp_path / "t.tar").write_bytes(tar_of(*members))
    outcome = acquired(tmp_path / "t.tar", tmp_path)
    rows = outcome.table.to_pylist()
    found = STORE.read_ranges([(row["file"], row["offset"], row["length"]) for row in rows])
    assert sorted(found) == [b"one", b"two"]


def test_tars_of_one_name_in_different_folders_have_different_keys(tmp_path: Path) -> None:
    for folder in "ba":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0.tar").write_bytes(tar_of(("1.jpg", folder.encode())))
    assert urls(listed(tmp_path / "*/0.tar")) == ["a/0.tar::1.jpg", "b/0.tar::1.jpg"]


def test_a_tar_cut_in_a_member_gives_the_samples_before_it(tmp_path: Path) -> None:
    whole = tar_of(("1.jpg", JPEG), ("1.txt", "a"), ("2.jpg", JPEG), ("3.jpg", b"x" * 1500))
    last = whole.index(b"xxxx")
    for cut in (last + 10, last, last - 100, last - 512):
        (tmp_path / "t.tar").write_bytes(whole[:cut])
        rows = listed(tmp_path / "t.tar")
        assert urls(rows)[0] == "t.tar::1.jpg"
        assert reasons(rows) == ["truncated_tar"]
        assert isinstance(rows[-1], Reject)
        assert rows[-1].id == "t.tar"
    assert acquired(tmp_path / "t.tar", tmp_path).counts().conserved


def test_a_tar_without_its_end_mark_is_said_to_be_truncated(tmp_path: Path) -> None:
    (tmp_path / "t.tar").write_bytes(tar_of(("1.jpg", JPEG), ("2.jpg", JPEG), end=False))
    rows = listed(tmp_path / "t.tar")
    assert urls(rows)[:2] == ["t.tar::1.jpg", "t.tar::2.jpg"]
    assert reasons(rows) == ["truncated_tar"]
    assert isinstance(rows[-1], Reject)
    assert "where the file ends: it may be cut; all samples up to there are kept" in rows[-1].detail


def test_a_member_of_a_name_that_was_there_is_a_row_of_its_own(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, ("1.jpg", b"a"), ("1.txt", "x"), ("1.jpg", b"b"), ("1.txt", "y"))
    assert urls(rows) == ["t.tar::1.jpg", "t.tar::1.jpg#2"]
    assert [row.id for row in rows] == ["t.tar::1", "t.tar::1#2"]


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    whole = bytearray(tar_of(("1.jpg", JPEG), ("2.jpg", JPEG), ("3.jpg", JPEG)))
    at = whole.index(b"2.jpg")
    whole[at + 148 : at + 156] = b"99999999"  # the checksum
    (tmp_path / "t.tar").write_bytes(whole)
    assert reasons(listed(tmp_path / "t.tar")) == ["truncated_tar"]


@pytest.mark.parametrize("body", [b"", b"not a tar", b"\x1f\x8b" + bytes(2000)])
def test_what_is_no_tar_is_a_dead_letter(body: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.tar").write_bytes(body)
    assert reasons(listed(tmp_path / "t.tar")) in (["not_a_tar"], ["truncated_tar"])


def _summed(header: bytes) -> bytes:
    """Give a header the right checksum, so that `tarfile` reads on."""
    total = 256 + sum(header[:148]) + sum(header[156:512])
    return header[:148] + b"%06o\0 " % total + header[156:]


def test_a_sparse_file_is_dead_because_its_bytes_do_not_lie_in_one_piece(tmp_path: Path) -> None:
    info = tarfile.TarInfo("1.jpg")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 512
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"%011o\0%011o\0" % (1024, 512)  # one piece: where, how long
    header[483:495] = b"%011o\0" % 1536  # size of the file with its hole
    sparse = _summed(bytes(header)) + b"x" * 512
    with tarfile.open(fileobj=io.BytesIO(sparse + bytes(1024))) as tar:
        assert tar.getmembers()[0].issparse()
    (tmp_path / "t.tar").write_bytes(sparse + tar_of(("2.jpg", JPEG)))
    first, second = listed(tmp_path / "t.tar")
    assert isinstance(first, Reject)
    assert (first.id, first.reason) == ("t.tar::1", "sparse_member")
    assert second.id == "t.tar::2"


FUZZED = tar_of(("1.jpg", JPEG), ("y" * 150 + ".jpg", JPEG), ("3.txt", "a"), ("3.jpg", JPEG))


@settings(max_examples=100, deadline=None)
@given(
    block=st.sampled_from([0, 2, 4, 6, 8, 10]),
    start=st.integers(0, 511),
    junk=st.one_of(st.binary(min_size=1, max_size=12), st.sampled_from([b"\xff" * 12, b"7" * 11])),
    kind=st.sampled_from([b"", b"x", b"g", b"S", b"L", b"K", b"1", b"5"]),
)
@example(block=0, start=124, junk=b"\xff" * 12, kind=b"")  # a size of -1
@example(block=8, start=124, junk=b"\xff" * 10 + b"\xf6\0", kind=b"")  # back to block 4
def test_no_header_makes_the_reader_crash_or_go_round_for_ever(
    block: int, start: int, junk: bytes, kind: bytes
) -> None:
    body = bytearray(FUZZED)
    header = bytearray(body[block * 512 : block * 512 + 512])
    header[start : start + len(junk)] = junk[: 512 - start]
    if kind:
        header[156:157] = kind
    body[block * 512 : block * 512 + 512] = _summed(bytes(header))
    fsspec.filesystem("memory").pipe_file("/fuzzed/t.tar", bytes(body))
    assert 0 < len(listed("memory://fuzzed/t.tar")) < 10


def test_img2dataset_output_is_read_with_its_failures_counted(tmp_path: Path) -> None:
    rows = [("000000000", "success", None), ("000000001", "failed_to_download", "HTTP Error 404")]
    rows += [("000000002", "failed_to_resize", "image decoding error")]
    columns = ("key", "status", "error_message")
    table = pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows])
    names = pa.array([f"http://a.org/{n}.jpg" for n in range(3)])
    pq.write_table(table.append_column("url", names), tmp_path / "00000.parquet")
    described = {"url": "http://a.org/0.jpg", "caption": "a cat", "key": "000000000", "exif": "{}"}
    members = [("jpg", JPEG), ("json", json.dumps(described)), ("txt", "a cat")]
    tar = tar_of(*((f"000000000.{end}", body) for end, body in members))
    (tmp_path / "00000.tar").write_bytes(tar)
    bad, worse, good = listed(tmp_path / "*.tar")
    assert bad == Reject(
        id="00000.tar::000000001",
        reason="img2dataset_failed_to_download",
        detail="http://a.org/1.jpg: HTTP Error 404",
    )
    assert isinstance(worse, Reject)
    assert worse.reason == "img2dataset_failed_to_resize"
    assert isinstance(good, Listed)
    assert (good.url, good.text) == ("http://a.org/0.jpg", "a cat")


def test_another_parquet_beside_a_tar_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "t.tar").write_bytes(tar_of(("1.jpg", JPEG)))
    pq.write_table(pa.table({"key": ["1"], "status": [200]}), tmp_path / "t.parquet")
    assert urls(listed(tmp_path / "t.tar")) == ["t.tar::1.jpg"]


def test_a_tar_in_an_object_store_is_read_through_fsspec_alone(tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/bucket/t.tar", tar_of(("1.jpg", JPEG), ("1.txt", "a")))
    outcome = acquired("memory://bucket/*.tar", tmp_path)
    (row,) = outcome.table.to_pylist()
    assert row["file"] == "memory:///bucket/t.tar"
    assert STORE.read_ranges([(row["file"], row["offset"], row["length"])]) == [JPEG]


def test_a_tar_that_became_shorter_since_it_was_listed_stops_the_build(tmp_path: Path) -> None:
    path = tmp_path / "t.tar"
    path.write_bytes(tar_of(("1.jpg", JPEG)))
    read = reader(path)
    (unit,) = read.plan(1, STORE).units
    (row,) = read.rows(unit)
    assert isinstance(row, Listed)
    path.write_bytes(b"")
    rows = pa.table({"key": ["k"], "place": [row.place]})
    with pytest.raises(CorpusError, match=r"t\.tar: changed while it was read"):
        read.acquire(unit, rows, RawShard(0, tmp_path))
