"""Exports for Energon, read by its own loader and compared with what its `prepare` writes."""

import json
import shutil
import sqlite3
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from corpus import ROOT
from export_readers import ENERGON, needs, python, read_by_energon
from exports import samples_of
from PIL import Image

from pipelines.export.formats import FORMATS
from pipelines.export.job import export

SUBSETS = ("t2i", "edit", "understand", "preference", "preference_edit")

pytestmark = [pytest.mark.slow, needs(ENERGON)]


def as_energon_decodes(member: str, data: bytes) -> Any:
    if member.endswith("jpg"):
        pixels = np.asarray(Image.open(BytesIO(data)).convert("RGB"))
        return sha256(pixels.tobytes()).hexdigest()
    if member == "json":
        return json.loads(data)
    array = np.load(BytesIO(data))
    return [array.dtype.name, array.tolist()]


def test_its_loader_reads_every_member_of_every_sample(small_corpus: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    export(str(small_corpus), FORMATS["energon"], str(to))
    read = read_by_energon([to / subset for subset in SUBSETS], tmp_path)
    for subset, rows in zip(SUBSETS, read, strict=True):
        samples = samples_of(small_corpus, subset)
        assert rows.keys() == samples.keys()
        for key, members in samples.items():
            decoded = {name: as_energon_decodes(name, data) for name, data in members.items()}
            assert rows[key] == {**decoded, "by key": decoded["json"]}


def test_the_program_of_the_page_reads_edits(small_corpus: Path, tmp_path: Path) -> None:
    export(str(small_corpus), FORMATS["energon"], str(tmp_path), ["edit"])
    page = (ROOT / "docs/how-to/export.md").read_text()
    (program,) = (code for code in page.split("```") if code.startswith("python\nfrom megatron"))
    program = program.removeprefix("python\n").replace("DIR/edit", str(tmp_path / "edit"))
    read = python(ENERGON, "-c", f"{program}    break\n")  # or it would not end
    told = [json.loads(members["json"]) for members in samples_of(small_corpus, "edit").values()]
    contents = [each["messages"][0]["content"] for each in told]
    assert [content for content in contents if content in read]
    assert "torch.Size([3, 56, 64])" in read


def test_the_files_are_those_of_its_prepare(small_corpus: Path, tmp_path: Path) -> None:
    export(str(small_corpus), FORMATS["energon"], str(tmp_path / "ours"), ["t2i"])
    ours, theirs = tmp_path / "ours/t2i", tmp_path / "theirs"
    theirs.mkdir()
    for tar in small_corpus.glob("shards/t2i-*.tar"):
        shutil.copy(tar, theirs)
    prepare = ["prepare", "--non-interactive", "--num-workers", "1", "--split-parts", "train:.*"]
    kind = ["--sample-type", "CrudeWebdataset"]
    python(ENERGON, "-m", "megatron.energon.cli.main", *prepare, *kind, str(theirs))
    for path in theirs.glob("*.tar*"):
        assert (ours / path.name).read_bytes() == path.read_bytes()
    assert len([*theirs.glob("*.tar.idx")]) == 2
    assert database(ours) == database(theirs)
    mine, other = ((each / ".nv-meta/.info.json").read_text() for each in (ours, theirs))
    assert json.loads(mine) == json.loads(other)
    mine, other = (
        yaml.safe_load((each / ".nv-meta/dataset.yaml").read_text()) for each in (ours, theirs)
    )
    assert mine == {**other, "subflavors": {"subset": "t2i"}}


def database(folder: Path) -> dict[str, Any]:
    """Return the rows of each table, and the names of all tables and indexes."""
    opened = sqlite3.connect(folder / ".nv-meta/index.sqlite")
    tables = {
        table: sorted(opened.execute(f"SELECT * FROM {table}"))
        for table in ("samples", "sample_parts")
    }
    described = opened.execute("SELECT type, name, sql FROM sqlite_master")
    # The statements differ in spaces and in IF NOT EXISTS.
    words = {
        (kind, name): "".join((sql or "").replace("IF NOT EXISTS", "").split())
        for kind, name, sql in described
    }
    return {**tables, "described": words}
