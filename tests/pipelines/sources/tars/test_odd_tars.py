"""Tars that are odd but sound are read; of all others it is said what they are."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.runtime.sidecar import Reject, read_table
from pipelines.runtime.stage import ShardResult, run_shard
from pipelines.sources import compressed
from pipelines.sources.listing import Listed, PassedOver
from pipelines.sources.plan import make_plan
from pipelines.sources.raw_shard import RawShard
from pipelines.sources.tars import samples as tar_samples
from pipelines.sources.tars.reader import TarReader
from pipelines.stages.ingest import Ingest
from schemas.recipe import Recipe
from schemas.source_config import TarSource
from schemas.store.storage import Storage

MAX_BYTES = 2000
Body = bytes | tuple[bytes, str]  # or a link: its type and target
HARD, SOFT = tarfile.LNKTYPE, tarfile.SYMTYPE


def tar_of(*members: tuple[str, Body], form: int = tarfile.GNU_FORMAT, end: bool = True) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for name, body in members:
            member = tarfile.TarInfo(name)
            if isinstance(body, tuple):
                member.type, member.linkname = body
                tar.addfile(member)
            else:
                member.size = len(body)
                tar.addfile(member, io.BytesIO(body))
        size = tar.offset
    return file.getvalue() if end else file.getvalue()[:size]


def pair(name: str) -> list[tuple[str, Body]]:
    return [(f"{name}.jpg", f"image {name}".encode()), (f"{name}.txt", f"text {name}".encode())]


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd}


def reader(path: Path, **source: Any) -> TarReader:
    source.setdefault("columns", {"text": ""})  # few of the images have a text
    return TarReader(TarSource(name="s", kind="webdataset", path=str(path), **source), MAX_BYTES)


def read(path: Path, body: bytes, **source: Any) -> list[Any]:
    """Return rows as (id, text), rejects as they are, and what is passed over."""
    path.write_bytes(body)
    read = reader(path, **source)
    units = read.plan(1, Storage("memory://odd")).units
    return [
        (row.id, row.text) if isinstance(row, Listed) else row
        for unit in units
        for row in read.rows(unit)
    ]


def acquired(path: Path, scratch: Path) -> tuple[list[str], ShardResult]:
    """Return the URLs that ingest wrote, and what this reader makes of them."""
    store = Storage(str(scratch / "out"))
    recipe = Recipe(name="r", sources=(reader(path).source,))
    (unit,) = make_plan(recipe, store)
    run_shard(Ingest(sources=recipe.sources, crawl=recipe.crawl), 0, store)
    rows = read_table(store, "sources/00000.parquet")
    raw = RawShard(0, scratch)
    reader(path).acquire(unit, rows, raw)
    return rows["url"].to_pylist(), raw.finish(rows.num_rows)


def bodies(outcome: ShardResult) -> list[bytes]:
    """Return the bytes that the rows refer to, in their order."""
    found: list[bytes] = []
    for row in outcome.table.to_pylist():
        local = outcome.files.get(row["file"]) or Path(row["file"].removeprefix("file://"))
        with open(local, "rb") as file:
            file.seek(row["offset"])
            found.append(file.read(row["length"]))
    return found


@pytest.mark.parametrize("name", ["t.tar", "t.tgz", "t.tar.xz", "t"])
@pytest.mark.parametrize("packer", PACKERS)
def test_a_compressed_tar_is_read_by_its_bytes_whatever_its_name(
    packer: str, name: str, tmp_path: Path
) -> None:
    body = PACKERS[packer](tar_of(*pair("0"), *pair("1"), ("2.jpg", bytes(MAX_BYTES + 1))))
    rows = read(tmp_path / name, body)
    assert rows == [(f"{name}::0", "text 0"), (f"{name}::1", "text 1"), (f"{name}::2", "")]
    _, outcome = acquired(tmp_path / name, tmp_path)
    assert sorted(bodies(outcome)) == [b"image 0", b"image 1"]
    assert [reject.reason for reject in outcome.rejects] == ["too_large"]


@pytest.mark.parametrize("packer", PACKERS)
def test_a_tar_compressed_in_pieces_is_read_whole(packer: str, tmp_path: Path) -> None:
    whole = tar_of(*pair("0"), *pair("1"))
    body = b"".join(PACKERS[packer](whole[at : at + 700]) for at in range(0, len(whole), 700))
    assert len(read(tmp_path / "t.tar.x", body)) == 2


@pytest.mark.parametrize("packer", PACKERS)
def test_of_damaged_compressed_data_it_is_said_what_is_lost(packer: str, tmp_path: Path) -> None:
    noise = [(f"{n}.jpg", bytes((n * i * i + i) % 251 for i in range(40_000))) for n in range(3, 9)]
    body = PACKERS[packer](tar_of(*noise))
    for cut in (body[: len(body) // 2], body[:-900] + bytes(900)):
        *_, last = read(tmp_path / "t.tar.x", cut)
        assert isinstance(last, Reject)
        assert (last.id, last.reason) == ("t.tar.x", "truncated_tar")
        assert "lost: " in last.detail
        assert str(tmp_path) not in last.detail  # the id names the file


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed, "ALWAYS_ALLOWED_BYTES", 100_000)
    (reject,) = read(tmp_path / "t.tar.gz", gzip.compress(tar_of(("0.jpg", bytes(10**7)))))
    assert reject.reason == "truncated_tar"
    assert "unpacks to over" in reject.detail


@pytest.mark.parametrize(
    "between", [b"", bytes(512), bytes(10_240), bytes(512 * 100)], ids=lambda b: f"{len(b)} zeros"
)
def test_tars_put_together_by_cat_are_read_to_the_last(between: bytes, tmp_path: Path) -> None:
    parts = [tar_of(*pair(name)) for name in "019"]
    rows = read(tmp_path / "t.tar", between.join(parts))
    assert rows == [("t.tar::0", "text 0"), ("t.tar#2::1", "text 1"), ("t.tar#3::9", "text 9")]
    _, outcome = acquired(tmp_path / "t.tar", tmp_path)
    assert sorted(bodies(outcome)) == [b"image 0", b"image 1", b"image 9"]


def test_a_name_in_two_parts_is_two_rows_and_no_sample_spans_them(tmp_path: Path) -> None:
    body = tar_of(("0.jpg", b"a")) + tar_of(("0.txt", b"b"), ("0.jpg", b"c"))
    assert read(tmp_path / "t.tar", body) == [("t.tar::0", ""), ("t.tar#2::0", "b")]
    urls, outcome = acquired(tmp_path / "t.tar", tmp_path)
    assert sorted(urls) == ["t.tar#2::0.jpg", "t.tar::0.jpg"]
    assert sorted(bodies(outcome)) == [b"a", b"c"]


def test_a_tar_without_an_end_mark_goes_on_in_the_next(tmp_path: Path) -> None:
    body = tar_of(*pair("0"), end=False) + tar_of(*pair("1"))
    assert len(read(tmp_path / "t.tar", body)) == 2


def test_members_appended_by_tar_are_read(tmp_path: Path) -> None:
    (tmp_path / "t.tar").write_bytes(tar_of(*pair("0")))
    with tarfile.open(tmp_path / "t.tar", "a") as tar:
        member = tarfile.TarInfo("1.jpg")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    assert len(read(tmp_path / "t.tar", (tmp_path / "t.tar").read_bytes())) == 2


@pytest.mark.parametrize("garbage", [b"garbage", b"x" * 5000, gzip.compress(b"x", mtime=0)])
def test_what_follows_the_end_and_is_no_tar_is_reported(garbage: bytes, tmp_path: Path) -> None:
    rows = read(tmp_path / "t.tar", tar_of(*pair("0"), *pair("1")) + garbage)
    assert rows[:2] == [("t.tar::0", "text 0"), ("t.tar::1", "text 1")]
    assert isinstance(rows[2], Reject)
    assert "what follows the tar's end, from byte 10,240 on, is no tar" in rows[2].detail


@pytest.mark.parametrize("packer", [bytes, gzip.compress])
def test_hard_links_are_followed_to_earlier_and_later_members(packer: Any, tmp_path: Path) -> None:
    body = tar_of(
        ("0.jpg", (HARD, "2.jpg")),
        ("0.txt", (HARD, "2.txt")),
        *pair("2"),
        ("3.jpg", (HARD, "./0.jpg")),
        ("4.JPG", (HARD, "2.jpg")),
        ("4.json", (HARD, "gone.json")),
        ("5.jpg", (HARD, "gone.jpg")),
        ("6.jpg", (HARD, "6.jpg")),
        ("notes.md", (HARD, "2.txt")),
    )
    other, *rows = read(tmp_path / "t.tar", packer(body))
    assert other == PassedOver(what=".md file")
    assert rows[:3] == [("t.tar::0", "text 2"), ("t.tar::2", "text 2"), ("t.tar::3", "")]
    assert [row.reason for row in rows[3:6]] == ["link_not_followed"] * 3
    assert [row.id for row in rows[3:6]] == ["t.tar::4", "t.tar::5", "t.tar::6"]
    assert "5.jpg: a hard link to gone.jpg, which this tar does not hold" in rows[4].detail
    assert len(rows) == 6
    assert bodies(acquired(tmp_path / "t.tar", tmp_path)[1]) == [b"image 2"] * 3


@pytest.mark.parametrize("target", ["0.jpg", "../d/0.jpg", "./x.jpg", "/etc/passwd", "../../0.jpg"])
@pytest.mark.parametrize("links", ["inside", "follow", "never"])
def test_symbolic_links_lead_to_members_alone(target: str, links: str, tmp_path: Path) -> None:
    members: list[tuple[str, Body]] = [("d/0.jpg", b"x"), ("d/x.jpg", (SOFT, "0.jpg"))]
    rows = read(tmp_path / "t.tar", tar_of(*members, ("d/9.jpg", (SOFT, target))), links=links)
    sound = links != "never" and not target.startswith(("/", "../../"))
    assert rows[0] == ("t.tar::d/0", "")
    assert (rows[2] == ("t.tar::d/9", "")) is sound
    if not sound:
        assert rows[2].reason == "link_not_followed"
        assert "a link" in rows[2].detail


def test_links_lead_to_what_unpacking_would_give(tmp_path: Path) -> None:
    members: list[tuple[str, Body]] = [
        *(("1.jpg", b"A"), ("s.jpg", (SOFT, "1.jpg")), ("h.jpg", (HARD, "1.jpg"))),
        *(("1.jpg", b"BB"), ("2.jpg", (HARD, "1.jpg")), ("1.jpg", b"CCC")),
        *(("w", b"text"), ("3.jpg", b"D"), ("3.txt", (HARD, "w"))),
    ]
    assert read(tmp_path / "t.tar", tar_of(*members))[-1] == ("t.tar::3", "text")
    urls, outcome = acquired(tmp_path / "t.tar", tmp_path)
    assert dict(zip((url[7:] for url in urls), bodies(outcome), strict=True)) == {
        **{"1.jpg": b"A", "s.jpg": b"CCC", "h.jpg": b"A", "1.jpg#2": b"BB", "2.jpg": b"BB"},
        **{"1.jpg#3": b"CCC", "3.jpg": b"D"},
    }


def test_links_that_lead_to_each_other_are_a_loop(tmp_path: Path) -> None:
    members: list[tuple[str, Body]] = [("x.jpg", (SOFT, "y.jpg")), ("y.jpg", (SOFT, "x.jpg"))]
    rows = read(tmp_path / "t.tar", tar_of(*members))
    assert [row.detail.endswith("which leads back to itself: a loop") for row in rows] == [True] * 2


def test_links_of_a_part_lead_to_members_of_that_part(tmp_path: Path) -> None:
    parts = [[("0.jpg", body), ("1.jpg", (HARD, "0.jpg"))] for body in (b"a", b"b")]
    read(tmp_path / "t.tar", b"".join(tar_of(*part) for part in parts))
    urls, outcome = acquired(tmp_path / "t.tar", tmp_path)
    assert len(urls) == 4
    assert sorted(bodies(outcome)) == [b"a", b"a", b"b", b"b"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "an empty file"),
        (b"hello", "expected a tar, this is none"),
        (b"x" * 5000, "expected a tar, this is none"),
        (gzip.compress(b"hello" * 1000, mtime=0), "gzip data of something else"),
        (zstd(b"hello" * 1000), "zstd data of something else"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(100), "a 7z archive"),
        (b"Rar!\x1a\x07\x01\0" + bytes(100), "a rar archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html>" + bytes(600), "markup"),
    ],
)
def test_what_is_no_tar_is_named(body: bytes, said: str, tmp_path: Path) -> None:
    (reject,) = read(tmp_path / "t.tar", body)
    assert (reject.id, reject.reason) == ("t.tar", "not_a_tar")
    assert said in reject.detail


def test_a_zip_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w") as file:
        file.writestr("0.jpg", b"x")
    (reject,) = read(tmp_path / "t.tar", (tmp_path / "z").read_bytes())
    assert "a zip archive" in reject.detail


@pytest.mark.parametrize("zeros", [1024, 10_240, 512])
def test_an_empty_tar_is_counted(zeros: int, tmp_path: Path) -> None:
    assert read(tmp_path / "t.tar", bytes(zeros)) == [PassedOver(what="tar without a file")]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_odd_names_are_read_in_every_format(form: int, tmp_path: Path) -> None:
    names = [
        "d" * 90 + "/" + "n" * 90,
        "a b",
        "back\\slash",
        "new\nline",
        "/root",
        "../up",
        "./here",
    ]
    names += [] if form == tarfile.USTAR_FORMAT else ["x" * 300, "caf\u00e9"]
    body = tar_of(*((f"{name}.jpg", b"x") for name in names), form=form)
    assert [row[0] for row in read(tmp_path / "t.tar", body)] == [f"t.tar::{n}" for n in names]


def test_an_old_v7_header_is_read(tmp_path: Path) -> None:
    body = bytearray(tar_of(("0.jpg", b"x")))
    body[156:157] = b"\0"  # a plain file in v7
    body[257:265] = bytes(8)  # no magic
    total = 256 + sum(body[:148]) + sum(body[156:512])
    body[148:156] = b"%06o\0 " % total
    assert read(tmp_path / "t.tar", bytes(body)) == [("t.tar::0", "")]


@pytest.mark.parametrize("size", ["99999999999999999999", "-5", "x", ""])
def test_pax_headers_with_bad_numbers_are_said_to_be_damage(size: str, tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("0.jpg")
        member.pax_headers = {"size": size, "mtime": "nan"}
        tar.addfile(member)
    *_, last = read(tmp_path / "t.tar", tar_of(*pair("1"), end=False) + file.getvalue())
    assert last == ("t.tar::0", "") or last.reason == "truncated_tar"


def test_a_header_that_claims_gigabytes_of_name_is_damage(tmp_path: Path) -> None:
    member = tarfile.TarInfo("0.jpg")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 7 << 30
    (reject,) = read(tmp_path / "t.tar", member.tobuf() + tar_of(*pair("1")))
    assert reject.reason in ("not_a_tar", "truncated_tar")


def test_headers_within_headers_without_end_are_damage(tmp_path: Path) -> None:
    member = tarfile.TarInfo("0.jpg")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 1
    (reject,) = read(tmp_path / "t.tar", (member.tobuf() + b"x" + bytes(511)) * 3000)
    assert reject.reason in ("not_a_tar", "truncated_tar")


def test_damage_in_a_long_run_of_dotted_names_costs_the_last_alone(tmp_path: Path) -> None:
    whole = tar_of(*((f"x.{n}.jpg", b"x") for n in range(9)))
    rows = read(tmp_path / "t.tar", whole[: 5 * 1024 + 100])
    assert rows[:4] == [(f"t.tar::x.{n}", "") for n in range(4)]
    assert rows[4].detail.endswith("lost: sample 'x.4' and what follows")


def test_a_run_of_many_texts_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_samples, "MOST_TEXT_BYTES", 10)
    assert len(read(tmp_path / "t.tar", tar_of(*pair("x.1"), *pair("x.2"), *pair("x.3")))) == 3


@pytest.mark.parametrize("body", [b"", b"PAR1 damaged", b"PAR1" + bytes(100) + b"PAR1"])
def test_a_damaged_side_file_of_img2dataset_is_a_dead_row(body: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(body)
    bad, good = read(tmp_path / "t.tar", tar_of(*pair("0")))
    assert (bad.id, bad.reason) == ("t.parquet", "malformed_parquet")
    assert "remove the file" in bad.detail
    assert good == ("t.tar::0", "text 0")


def test_a_folder_in_the_place_of_a_side_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").mkdir()
    assert read(tmp_path / "t.tar", tar_of(*pair("0"))) == [("t.tar::0", "text 0")]


def test_other_files_that_a_wildcard_matches_are_counted(tmp_path: Path) -> None:
    for name in ("0.tar", "1.tar.gz", "0.parquet", "0_stats.json", "README"):
        (tmp_path / name).write_bytes(tar_of(*pair("0")))
    plan = reader(tmp_path / "*").plan(1, Storage("memory://odd"))
    assert [unit.name for unit in plan.units] == ["0.tar", "1.tar.gz"]
    assert plan.passed_over == {".json file": 1, ".parquet file": 1, "file without a suffix": 1}
    plan = reader(tmp_path / "R*").plan(1, Storage("memory://odd"))
    assert [unit.name for unit in plan.units] == ["README"]
