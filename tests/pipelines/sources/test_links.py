"""Links are followed as the recipe's key says, in folders, lists of paths and globs of tars."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pipelines.sources.folders.reader import FolderReader
from pipelines.sources.listing import Listed, Unit
from pipelines.sources.raw_shard import RawShard
from pipelines.sources.walk import AGAIN
from schemas.source_config import FolderColumns, FolderSource, Links
from schemas.store.storage import Storage
from schemas.tables import SOURCES

OUTSIDE = "link to a folder that leads out of the source's folder (set links: follow to read it)"


def link(place: Path, target: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def write(place: Path, body: str = "a body") -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(body)


def reader(folder: Path, links: Links = "inside", **source: Any) -> FolderReader:
    source.setdefault("columns", {"text": ""})  # few of the images have a text
    made = FolderSource(name="s", kind="folder", path=str(folder), links=links, **source)
    return FolderReader(made, 100)


def listed(folder: Path, links: Links = "inside") -> tuple[dict[str, str], dict[str, int]]:
    read = reader(folder, links)
    plan = read.plan(2, Storage("memory://links"))
    rows = [row for unit in plan.units for row in read.rows(unit)]
    return (
        {r.id: r.text if isinstance(r, Listed) else f"{r.reason}: {r.detail}" for r in rows},
        dict(plan.passed_over),
    )


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """A snapshot in the cache of huggingface_hub."""
    for number in range(2):
        write(tmp_path / f"hub/blobs/b{number}")
        write(tmp_path / f"hub/blobs/t{number}", f"text {number}")
        link(tmp_path / f"hub/snapshots/abc/{number}.jpg", f"../../blobs/b{number}")
        link(tmp_path / f"hub/snapshots/abc/{number}.txt", f"../../blobs/t{number}")
    return tmp_path / "hub"


@pytest.mark.parametrize(
    ("links", "said"),
    [
        ("inside", "b0 that leads out of the source's folder (set links: follow to read it)"),
        (
            "never",
            "b0 that is not followed, as links: never says (set inside or follow to read it)",
        ),
    ],
)
def test_a_link_that_is_not_followed_is_a_dead_letter_that_names_the_key(
    links: Links, said: str, hub: Path
) -> None:
    rows, _ = listed(hub / "snapshots/abc", links)
    assert rows["0.jpg"] == f"link_not_followed: a link to ../../blobs/{said}"
    assert list(rows) == ["0.jpg", "1.jpg"]


def test_the_cache_of_huggingface_hub_is_read(hub: Path) -> None:
    assert listed(hub / "snapshots/abc", "follow")[0] == {"0.jpg": "text 0", "1.jpg": "text 1"}
    rows, passed_over = listed(hub)
    assert rows == {"snapshots/abc/0.jpg": "text 0", "snapshots/abc/1.jpg": "text 1"}
    assert passed_over == {"file without a suffix": 4}


def test_the_layout_of_git_annex_is_read_without_a_key(tmp_path: Path) -> None:
    write(tmp_path / ".git/annex/objects/x/K.jpg/K.jpg")
    link(tmp_path / "a/1.jpg", "../.git/annex/objects/x/K.jpg/K.jpg")
    link(tmp_path / "2.jpg", ".git/annex/objects/gone.jpg/gone.jpg")
    rows, passed_over = listed(tmp_path)
    assert rows["a/1.jpg"] == ""
    assert rows["2.jpg"].startswith("missing_file: a link that has no target (fetch what")
    assert passed_over == {"hidden folder": 1}


def test_the_layout_of_dvc_is_read(tmp_path: Path) -> None:
    write(tmp_path / "cache/files/md5/ab/cdef")
    link(tmp_path / "repo/data/1.png", "../../cache/files/md5/ab/cdef")
    assert listed(tmp_path / "repo/data", "follow")[0] == {"1.png": ""}


def test_a_linked_folder_is_counted_or_entered(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere/5.jpg")
    write(tmp_path / "elsewhere/5.txt", "five")
    write(tmp_path / "mine/6.jpg")
    link(tmp_path / "mine/sub", "../elsewhere")
    assert listed(tmp_path / "mine") == ({"6.jpg": ""}, {OUTSIDE: 1})
    assert listed(tmp_path / "mine", "follow") == ({"6.jpg": "", "sub/5.jpg": "five"}, {})
    assert "links: never" in next(iter(listed(tmp_path / "mine", "never")[1]))


def test_a_folder_that_several_links_lead_to_is_entered_once(tmp_path: Path) -> None:
    write(tmp_path / "far/x/1.jpg")
    write(tmp_path / "mine/real/2.jpg")
    for name, target in {"b": "../far", "a": "../far", "c": "../far/x", "d": "real"}.items():
        link(tmp_path / "mine" / name, target)
    rows, passed_over = listed(tmp_path / "mine", "follow")
    assert list(rows) == ["a/x/1.jpg", "real/2.jpg"]
    assert passed_over == {f"link to a folder {AGAIN}": 3}


def test_a_linked_folder_in_a_hidden_one_is_entered(tmp_path: Path) -> None:
    write(tmp_path / ".store/1.jpg")
    link(tmp_path / "shown", ".store")
    assert list(listed(tmp_path)[0]) == ["shown/1.jpg"]


@pytest.mark.parametrize("target", [".", "..", "../..", "loop", "other"])
@pytest.mark.parametrize("links", ["inside", "follow", "never"])
def test_loops_of_links_end(target: str, links: Links, tmp_path: Path) -> None:
    write(tmp_path / "up/mine/d/1.jpg")
    link(tmp_path / "up/mine/d/loop", target)
    link(tmp_path / "up/mine/d/other", "loop")
    rows, passed_over = listed(tmp_path / "up/mine", links)
    assert list(rows) == ["d/1.jpg"]
    assert passed_over


@pytest.mark.parametrize(
    ("target", "reason", "said"),
    [
        ("gone.jpg", "missing_file", "has no target"),
        ("1.jpg", "missing_file", "leads back to itself"),
        ("/dev/null", "missing_file", "no regular file"),
        ("pipe", "missing_file", "no regular file"),
    ],
)
@pytest.mark.parametrize("name", ["1.jpg", "2.txt"])
def test_a_link_to_no_file_is_a_dead_letter_and_nothing_is_opened(
    target: str, reason: str, said: str, name: str, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    write(tmp_path / "2.jpg")
    link(tmp_path / name, name if target == "1.jpg" else target)
    row = listed(tmp_path, "follow")[0]["1.jpg" if name == "1.jpg" else "2.jpg"]
    assert row.startswith(reason)
    assert said in row


def test_a_text_behind_a_link_out_of_the_folder_makes_its_image_a_dead_letter(
    tmp_path: Path,
) -> None:
    write(tmp_path / "secret.txt", "a secret")
    write(tmp_path / "mine/1.jpg")
    link(tmp_path / "mine/1.txt", "../secret.txt")
    row = listed(tmp_path / "mine")[0]["1.jpg"]
    assert row.startswith("link_not_followed: 1.txt: a link to ../secret.txt that leads out")
    assert listed(tmp_path / "mine", "follow")[0] == {"1.jpg": "a secret"}


def test_paths_of_a_list_obey_the_key_and_never_climb(hub: Path, tmp_path: Path) -> None:
    paths = ["0.jpg", "sub/../1.jpg", "../../blobs/b0"]
    write(tmp_path / "l.jsonl", "".join(f"{json.dumps({'path': path})}\n" for path in paths))

    def reasons(links: Links) -> list[str]:
        columns = FolderColumns(text="")
        lists = str(tmp_path / "l.jsonl")
        read = reader(hub / "snapshots/abc", links, list=lists, columns=columns)
        units = read.plan(5, Storage("memory://links")).units
        return [getattr(row, "reason", "") for unit in units for row in read.rows(unit)]

    assert reasons("follow") == ["", "", "bad_path"]
    assert reasons("inside") == ["link_not_followed", "link_not_followed", "bad_path"]


@pytest.mark.parametrize("made", ["file", "folder"])
def test_what_became_a_link_after_the_listing_is_not_read(made: str, tmp_path: Path) -> None:
    import pyarrow as pa

    write(tmp_path / "mine/d/1.jpg")
    write(tmp_path / "secret/1.jpg", "a secret")
    read = reader(tmp_path / "mine")
    if made == "file":
        (tmp_path / "mine/d/1.jpg").unlink()
        link(tmp_path / "mine/d/1.jpg", "../../secret/1.jpg")
    else:
        (tmp_path / "mine/d").rename(tmp_path / "mine/e")
        link(tmp_path / "mine/d", "../secret")
    row = dict.fromkeys(SOURCES.names, "") | {"key": "k", "place": "d/1.jpg", "tags": []}
    unit = Unit(source="s", path="", version="", start=0, end=0)
    (tmp_path / "scratch").mkdir()
    raw = RawShard(0, tmp_path / "scratch")
    read.acquire(unit, pa.Table.from_pylist([row], schema=SOURCES), raw)
    (reject,) = raw.finish(1).rejects
    assert reject.reason == "link_not_followed"
    assert "d/1.jpg: a link " in reject.detail
