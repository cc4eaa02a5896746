"""Of a folder nothing is silent: each file is a row, belongs to one, or is counted."""

import os
import socket
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipelines.runtime.sidecar import Reject
from pipelines.sources.folders.listing import list_folder
from pipelines.sources.folders.reader import FolderReader
from pipelines.sources.listing import IMAGE_SUFFIXES, Listed
from schemas.source_config import FolderColumns, FolderSource
from schemas.store.storage import CorpusError, Storage

SYSTEM = "file of macOS or Windows (._*, .DS_Store, Thumbs.db)"


def lay(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"of {name}")
    return folder


def listed(folder: Path | str, **source: Any) -> tuple[dict[str, str], dict[str, int]]:
    """Return {path: text, or the reason of a reject} and what is passed over."""
    source.setdefault("columns", {"text": ""})  # few of the images have a text
    reader = FolderReader(FolderSource(name="s", kind="folder", path=str(folder), **source), 100)
    plan = reader.plan(2, Storage("memory://listed"))
    rows = [row for unit in plan.units for row in reader.rows(unit)]
    texts = {row.id: row.text if isinstance(row, Listed) else row.reason for row in rows}
    return texts, dict(plan.passed_over)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_what_looks_like_an_image_is_a_row_in_any_case(suffix: str, tmp_path: Path) -> None:
    lay(tmp_path, f"a{suffix}", f"b{suffix.upper()}", f"c{suffix.title()}", "a.txt")
    rows, passed_over = listed(tmp_path)
    assert sorted(rows) == [f"a{suffix}", f"b{suffix.upper()}", f"c{suffix.title()}"]
    assert not passed_over


def test_texts_are_matched_in_any_case_of_their_suffix(tmp_path: Path) -> None:
    lay(tmp_path, "h.jpg", "h.TXT", "i.JPG", "i.Txt", "j.jpg")
    (tmp_path / "j.Json").write_text('{"text": "of j"}')
    rows, passed_over = listed(tmp_path, columns={})
    assert rows == {"h.jpg": "of h.TXT", "i.JPG": "of i.Txt", "j.jpg": "of j"}
    assert not passed_over


def test_of_texts_that_differ_in_case_the_lower_one_is_read_and_the_others_counted(
    tmp_path: Path,
) -> None:
    lay(tmp_path, "a.jpg", "a.TXT", "a.txt", "a.Txt", "b.jpg", "b.TXT", "b.Txt")
    rows, passed_over = listed(tmp_path)
    assert rows == {"a.jpg": "of a.txt", "b.jpg": "of b.TXT"}
    assert passed_over == {"further text of an image": 3}


def test_what_is_neither_image_nor_text_is_counted_by_suffix(tmp_path: Path) -> None:
    names = [
        "a.svg",
        "b.SVG",
        "c.mp4",
        "README",
        "x.2024",
        "orphan.txt",
        "orphan.json",
        "a.jpg.bak",
    ]
    lay(tmp_path, "a.jpg", *names, "d/orphan.TXT")
    assert listed(tmp_path)[1] == {
        ".bak file": 1,
        ".json file without an image": 1,
        ".mp4 file": 1,
        ".svg file": 2,
        ".txt file without an image": 2,
        "file with an odd suffix": 1,
        "file without a suffix": 1,
    }


def test_files_of_the_system_are_no_images(tmp_path: Path) -> None:
    names = ["._0.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", "d/._1.png", "._0.txt"]
    lay(tmp_path, "0.jpg", "0.txt", *names, "__MACOSX/._0.jpg", "__MACOSX/d/1.jpg")
    rows, passed_over = listed(tmp_path)
    assert rows == {"0.jpg": "of 0.txt"}
    assert passed_over == {SYSTEM: 6, "__MACOSX folder": 1}


def test_hidden_folders_are_counted_and_hidden_images_are_rows(tmp_path: Path) -> None:
    lay(tmp_path, ".git/a.jpg", ".cache/b/c.jpg", "d/.dvc/e.jpg", ".f.jpg", ".f.txt", ".gitignore")
    rows, passed_over = listed(tmp_path)
    assert rows == {".f.jpg": "of .f.txt"}
    assert passed_over == {"file without a suffix": 1, "hidden folder": 3}


def test_pipes_sockets_and_devices_are_counted_and_never_opened(tmp_path: Path) -> None:
    lay(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "b.jpg")
    os.mkfifo(tmp_path / "a.txt")
    with socket.socket(socket.AF_UNIX) as it:
        it.bind(str(tmp_path / "c.png"))
        assert listed(tmp_path) == ({"a.jpg": ""}, {"pipe, socket or device": 3})


def test_names_come_in_order_whatever_the_file_system_says(tmp_path: Path) -> None:
    names = [f"{folder}{number}.jpg" for number in (3, 1, 2) for folder in ("", "b/", "a/")]
    lay(tmp_path, *names)
    assert list(listed(tmp_path)[0]) == sorted(names)


def test_a_folder_in_an_object_store_is_judged_by_the_same_rules() -> None:
    memory = fsspec.filesystem("memory")
    names = ["a.JPE", "a.TXT", "._a.jpg", ".git/x.jpg", ".git/y/z.jpg", "b.svg", "c", "o.txt"]
    memory.pipe({f"/judged/{name}": f"of {name}".encode() for name in names})
    assert listed("memory://judged") == (
        {"a.JPE": "of a.TXT"},
        {
            ".svg file": 1,
            ".txt file without an image": 1,
            SYSTEM: 1,
            "file without a suffix": 1,
            "hidden folder": 1,
        },
    )


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    lay(tmp_path, "a.svg", "b.svg", "c.txt")
    with pytest.raises(
        CorpusError, match=r"no image in this folder .*found: 2 \.svg file, 1 \.txt"
    ):
        list_folder(str(tmp_path), "inside")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("a.tar", "this is a file; kind: folder expects a folder of images, kind: webdataset"),
        ("no/where", "no such folder; the nearest folder there is, .*, holds a.tar, d"),
        ("*", "takes no wildcards: name the folder above"),
        ("", "holds|no image"),
    ],
)
def test_a_path_that_is_no_folder_of_images_is_explained(
    path: str, said: str, tmp_path: Path
) -> None:
    lay(tmp_path, "a.tar", "d/b.txt")
    with pytest.raises(CorpusError, match=said):
        list_folder(f"{tmp_path}/{path}", "inside")


@pytest.mark.parametrize("name", ["0.tar", "0.tar.gz", "d/0.TGZ"])
def test_a_folder_of_tars_is_told_of_the_kind_that_reads_them(name: str, tmp_path: Path) -> None:
    lay(tmp_path, name)
    with pytest.raises(CorpusError, match=r"no image in this folder .*; kind: webdataset reads"):
        list_folder(str(tmp_path), "inside")


def test_a_folder_that_cannot_be_listed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path, "a.jpg", "closed/b.jpg")
    scandir = os.scandir

    def closed(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(
        CorpusError, match="closed: this folder cannot be listed: Permission denied"
    ):
        list_folder(str(tmp_path), "inside")


def test_a_change_of_what_is_passed_over_is_noticed(tmp_path: Path) -> None:
    lay(tmp_path, "a.jpg", "b.svg")
    before = list_folder(str(tmp_path), "inside").digest()
    lay(tmp_path, "c.svg")
    assert list_folder(str(tmp_path), "inside").digest() != before


def test_a_damaged_text_is_named_once(tmp_path: Path) -> None:
    lay(tmp_path, "a.jpg")
    (tmp_path / "a.json").write_text("[")
    source = FolderSource(
        name="s", kind="folder", path=str(tmp_path), columns=FolderColumns(text="")
    )
    reader = FolderReader(source, 100)
    plan = reader.plan(2, Storage("memory://rejects"))
    (row,) = [row for unit in plan.units for row in reader.rows(unit)]
    assert isinstance(row, Reject)
    assert (row.id, row.reason) == ("a.jpg", "malformed_text")
    assert row.detail.startswith("a.json: not JSON")
