"""Which part of a `.txt` beside an image is its text."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pipelines.sources.folders.reader import FolderReader
from pipelines.sources.listing import Listed
from pipelines.sources.tars.reader import TarReader
from schemas.source_config import FolderSource, TarSource
from schemas.store.storage import Storage

LINES = "\ufeff \r\n a red fox \r\nein roter Fuchs\n"
WHOLE = "a red fox \r\nein roter Fuchs"


def text_in_folder(path: Path, **source: Any) -> str:
    (path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (path / "a.txt").write_bytes(LINES.encode())
    read = FolderReader(FolderSource(name="s", kind="folder", path=str(path), **source), 1000)
    (unit,) = read.plan(10, Storage("memory://unused")).units
    (row,) = read.rows(unit)
    assert isinstance(row, Listed)
    return row.text


def text_in_tar(path: Path, **source: Any) -> str:
    with tarfile.open(path / "t.tar", "w") as tar:
        for name, body in (("a.png", b"\x89PNG\r\n\x1a\n"), ("a.txt", LINES.encode())):
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    place = str(path / "t.tar")
    read = TarReader(TarSource(name="s", kind="webdataset", path=place, **source), 1000)
    (unit,) = read.plan(10, Storage("memory://unused")).units
    (row,) = read.rows(unit)
    assert isinstance(row, Listed)
    return row.text


@pytest.mark.parametrize("text_in", [text_in_folder, text_in_tar])
@pytest.mark.parametrize(("text", "expected"), [("first_line", "a red fox"), ("whole", WHOLE)])
def test_the_recipe_says_which_part_is_the_text(
    tmp_path: Path, text_in: Any, text: str, expected: str
) -> None:
    assert text_in(tmp_path, text=text) == expected


def test_a_folder_has_a_caption_a_line_and_a_tar_one_caption(tmp_path: Path) -> None:
    assert text_in_folder(tmp_path) == "a red fox"
    assert text_in_tar(tmp_path) == WHOLE
