"""Folders are listed whole, read in place, and never left."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest

from pipelines.runtime.sidecar import Reject, column
from pipelines.runtime.stage import ShardResult
from pipelines.sources.folders.reader import FolderReader
from pipelines.sources.listing import MAX_TEXT_BYTES, Listed, Unit
from pipelines.sources.raw_shard import RawShard
from schemas.source_config import FolderColumns, FolderSource
from schemas.store.storage import CorpusError, Storage
from schemas.tables import SOURCES

MAX_BYTES = 1000
PNG = b"\x89PNG\r\n\x1a\n"


def reader(path: Path | str, **source: Any) -> FolderReader:
    source.setdefault("columns", {"text": ""})  # few of the images have a text
    return FolderReader(
        FolderSource(name="pics", kind="folder", path=str(path), **source), MAX_BYTES
    )


@pytest.fixture
def store(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "out"))


@pytest.fixture
def pics(tmp_path: Path) -> Path:
    (tmp_path / "pics").mkdir()
    return tmp_path / "pics"


def lay(folder: Path, **files: bytes | str) -> None:
    """Write files; `__` in a name stands for its dot."""
    for name, body in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(body if isinstance(body, bytes) else body.encode())


def listed(read: FolderReader, store: Storage, rows_per_shard: int = 2) -> list[Listed | Reject]:
    return [row for unit in read.plan(rows_per_shard, store).units for row in read.rows(unit)]


def acquired(read: FolderReader, places: list[str], scratch: Path) -> ShardResult:
    rows = [
        dict.fromkeys(SOURCES.names, "") | {"key": f"k{n}", "place": place, "tags": []}
        for n, place in enumerate(places)
    ]
    unit = Unit(source="pics", path="", version="", start=0, end=0)
    raw = RawShard(0, scratch)
    read.acquire(unit, pa.Table.from_pylist(rows, schema=SOURCES), raw)
    return raw.finish(len(rows))


def test_images_of_all_subfolders_are_listed_with_the_texts_beside_them(
    pics: Path, store: Storage
) -> None:
    (pics / "deep/er").mkdir(parents=True)
    lay(pics, a__png=PNG, a__txt=" a cat \n", b__JPG=PNG, readme__md="no", c__txt="no image")
    lay(pics / "deep/er", d__webp=PNG, d__json=json.dumps({"text": "a dog", "tags": ["x", "y"]}))
    assert listed(reader(pics, columns={}), store) == [
        Listed(id="a.png", url="a.png", place="a.png", text="a cat"),
        Listed(id="b.JPG", url="b.JPG", place="b.JPG"),
        Listed(
            id="deep/er/d.webp",
            url="deep/er/d.webp",
            place="deep/er/d.webp",
            text="a dog",
            tags=("x", "y"),
        ),
    ]


def test_a_txt_wins_over_a_json_for_the_text_alone(pics: Path, store: Storage) -> None:
    described = json.dumps({"prompt": "no", "title": "T", "path": "../elsewhere.png"})
    lay(pics, a__png=PNG, a__txt="yes", a__json=described)
    (row,) = listed(reader(pics, columns=FolderColumns(text="prompt")), store)
    assert row == Listed(id="a.png", url="a.png", place="a.png", text="yes", title="T")


def test_two_images_of_one_stem_share_the_text(pics: Path, store: Storage) -> None:
    lay(pics, a__jpg=PNG, a__png=PNG, a__txt="both")
    rows = listed(reader(pics), store)
    assert [(row.url, row.text) for row in rows if isinstance(row, Listed)] == [
        ("a.jpg", "both"),
        ("a.png", "both"),
    ]


@pytest.mark.parametrize(
    "texts",
    [
        {"a__json": "{"},
        {"a__json": "[1]"},
        {"a__json": "[" * 100_000},
        {"a__txt": b"caf\xe9"},
        {"a__txt": b"x" * (MAX_TEXT_BYTES + 1)},
    ],
)
def test_a_broken_text_beside_an_image_is_a_dead_letter(
    texts: dict[str, Any], pics: Path, store: Storage
) -> None:
    lay(pics, a__png=PNG, b__png=PNG, **texts)
    broken, whole = listed(reader(pics), store)
    assert isinstance(broken, Reject)
    assert (broken.id, broken.reason, broken.dropped) == ("a.png", "malformed_text", False)
    assert whole == Listed(id="b.png", url="b.png", place="b.png")


def test_an_empty_text_beside_an_image_is_no_text(pics: Path, store: Storage) -> None:
    lay(pics, a__png=PNG, a__txt="")
    assert listed(reader(pics), store) == [Listed(id="a.png", url="a.png", place="a.png")]


def test_a_list_with_prompts_names_the_images(pics: Path, store: Storage) -> None:
    lay(pics, a__png=PNG)
    journey = pics.parent / "train_anno.jsonl"
    journey.write_text(
        '{"img_path": "./a.png", "prompt": "a cat --v 5"}\n{"prompt": "no image"}\n{\n'
    )
    columns = FolderColumns(url="img_path", text="prompt")
    one, missing, malformed = listed(reader(pics, list=str(journey), columns=columns), store)
    assert one == Listed(
        id="train_anno.jsonl row 1", url="./a.png", place="./a.png", text="a cat --v 5"
    )
    assert isinstance(missing, Reject)
    assert isinstance(malformed, Reject)
    assert [missing.reason, malformed.reason] == ["missing_path", "malformed_row"]


@pytest.mark.parametrize(
    "path",
    [
        "../secret.png",
        "a/../../secret.png",
        "..",
        "/etc/passwd",
        "link.png",
        "linked/secret.png",
        "nul\0.png",
        "half\ud83d.png",
        "file:///etc/passwd",
        "a.png::b",
    ],
)
def test_a_path_out_of_the_folder_is_a_dead_letter(path: str, pics: Path, store: Storage) -> None:
    (pics.parent / "secret.png").write_bytes(PNG)
    (pics / "link.png").symlink_to(pics.parent / "secret.png")
    (pics / "linked").symlink_to(pics.parent)
    (pics.parent / "l.jsonl").write_text(json.dumps({"path": path}))
    (row,) = listed(reader(pics, list=str(pics.parent / "l.jsonl"), columns={"text": ""}), store)
    assert isinstance(row, Reject)
    reason = "link_not_followed" if "link" in path else "bad_path"
    assert (row.id, row.reason, row.dropped) == ("l.jsonl row 1", reason, False)
    row.detail.encode()


def test_a_name_that_begins_with_two_dots_is_inside(pics: Path, store: Storage) -> None:
    lay(pics, **{"..a__png": PNG})
    assert [row.id for row in listed(reader(pics), store) if isinstance(row, Listed)] == ["..a.png"]


def test_links_out_of_a_listed_folder_are_dead_letters_texts_too(
    pics: Path, store: Storage
) -> None:
    (pics.parent / "secret.txt").write_text("a secret")
    lay(pics, a__png=PNG, c__png=PNG)
    (pics / "a.txt").symlink_to(pics.parent / "secret.txt")
    (pics / "b.png").symlink_to("/etc/passwd")
    (pics / "d.png").symlink_to("c.png")
    rows = listed(reader(pics), store)
    assert [(row.id, getattr(row, "reason", "")) for row in rows] == [
        ("a.png", "link_not_followed"),
        ("b.png", "link_not_followed"),
        ("c.png", ""),
        ("d.png", ""),
    ]


def test_a_file_name_that_is_not_utf8_is_a_dead_letter(pics: Path, store: Storage) -> None:
    Path(os.fsdecode(os.fsencode(pics) + b"/caf\xe9.png")).write_bytes(PNG)
    (row,) = listed(reader(pics), store)
    assert isinstance(row, Reject)
    assert (row.id, row.reason) == ("caf\\udce9.png", "bad_path")


def test_a_folder_without_images_is_refused_by_name(pics: Path, store: Storage) -> None:
    lay(pics, a__txt="no image")
    with pytest.raises(CorpusError, match=r"pics: no image in this folder \(\.jpg"):
        reader(pics).plan(2, store)
    with pytest.raises(CorpusError, match="nowhere: no such folder"):
        reader(pics / "nowhere").plan(2, store)


def test_bytes_are_referenced_and_what_cannot_be_read_is_a_dead_letter(
    pics: Path, tmp_path: Path
) -> None:
    lay(pics, good__png=PNG, full__png=bytes(MAX_BYTES), large__png=bytes(MAX_BYTES + 1))
    lay(pics, empty__png=b"")
    (pics / "folder.png").mkdir()
    os.mkfifo(pics / "pipe.png")
    names = ["good", "full", "large", "empty", "folder", "pipe", "gone", "good.png/x", "x" * 5000]
    outcome = acquired(reader(pics), [f"{name}.png" for name in names], tmp_path)
    assert [(reject.id, reject.reason) for reject in outcome.rejects] == [
        ("k2", "too_large"),
        ("k3", "empty_file"),
        *((f"k{n}", "missing_file") for n in range(4, 9)),
    ]
    assert outcome.counts().conserved
    assert not outcome.files
    good = outcome.table.to_pylist()[0]
    assert (good["offset"], good["length"]) == (0, len(PNG))
    assert good["sha256"] == hashlib.sha256(PNG).hexdigest()
    assert Storage("memory://x").read_ranges([(good["file"], 0, good["length"])]) == [PNG]


def test_pointers_in_the_place_of_images_are_said_to_be_such(pics: Path, tmp_path: Path) -> None:
    pointers = {
        "lfs.jpg": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "annex.jpg": "/annex/objects/SHA256E-s1--0.jpg\n",
        "link.jpg": "../../blobs/b0",
    }
    for name, body in pointers.items():
        (pics / name).write_text(body)
    outcome = acquired(reader(pics), list(pointers), tmp_path)
    said = [reject.detail for reject in outcome.rejects]
    assert [reject.reason for reject in outcome.rejects] == ["missing_file"] * 3
    for word, detail in zip(("git lfs pull", "git annex get", "../../blobs/b0"), said, strict=True):
        assert word in detail


def test_a_folder_in_an_object_store_is_read_through_fsspec_alone(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe({"/bucket/pics/a/b.png": PNG, "/bucket/pics/a/b.txt": b"far"})
    read, store = reader("memory://bucket/pics"), Storage("memory://bucket/out")
    assert listed(read, store) == [Listed(id="a/b.png", url="a/b.png", place="a/b.png", text="far")]
    outcome = acquired(read, ["a/b.png", "a", "a/none.png"], tmp_path)
    assert [reject.reason for reject in outcome.rejects] == ["missing_file"] * 2
    assert column(outcome.table, "file") == ["memory:///bucket/pics/a/b.png"]
    memory.pipe_file("/bucket/l.jsonl", b'{"path": "../x.png"}\n{"path": "/bucket/x.png"}')
    source = {"list": "memory://bucket/l.jsonl", "columns": {"text": ""}}
    rows = listed(reader("memory://bucket/pics", **source), store)
    assert [getattr(row, "reason", "") for row in rows] == ["bad_path", "bad_path"]


def test_only_the_units_whose_files_changed_get_a_new_version(pics: Path, store: Storage) -> None:
    lay(pics, a__png=PNG, b__png=PNG, c__png=PNG, c__txt="before")
    before = reader(pics).plan(2, store).units
    assert reader(pics).plan(2, store).units == before
    lay(pics, c__txt="afterwards")
    after = reader(pics).plan(2, store).units
    assert after[0] == before[0]
    assert after[1].version != before[1].version
    assert [unit.first_row for unit in after] == [0, 2]
