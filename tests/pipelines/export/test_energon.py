"""Exports for Energon, read by its own loader and compared with what its `prepare` writes."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from corpus import ROOT
from exports import samples_of
from PIL import Image

from pipelines.export.formats import FORMATS
from pipelines.export.job import export

PACKAGES = ROOT / "build/energon"  # by `make build/energon/ready`
SUBSETS = ("t2i", "edit", "understand", "preference", "preference_edit")
READ = """
import json
import sys
from hashlib import sha256

import numpy as np
import torch
from megatron.energon import (
    Cooker, DefaultTaskEncoder, WorkerConfig, get_loader, get_train_dataset, stateless
)
from megatron.energon.cache.file_store import WebdatasetFileStore
from megatron.energon.epathlib import EPath


def plain(name, value):
    if name.endswith("jpg"):  # a tensor, C H W in [0, 1]
        pixels = (value * 255).round().to(torch.uint8).permute(1, 2, 0)
        return sha256(pixels.contiguous().numpy().tobytes()).hexdigest()
    if name == "json":
        return value
    array = np.asarray(value)
    return [array.dtype.name, array.tolist()]


@stateless
def members(sample):
    return sample


def encoder(subset):
    class Encoder(DefaultTaskEncoder):
        cookers = [Cooker(members, has_subflavors={"subset": subset})]

        def batch(self, samples):
            return samples

    return Encoder()


output, *folders = sys.argv[1:]
rows = {}
for folder in folders:
    dataset = get_train_dataset(
        folder,
        worker_config=WorkerConfig(rank=0, world_size=1, num_workers=0),
        task_encoder=encoder(folder.rpartition("/")[2]),
        batch_size=1,
        repeat=False,
        shuffle_buffer_size=None,
        max_samples_per_sequence=None,
    )
    store = WebdatasetFileStore(EPath(folder))
    rows[folder] = {}
    for (sample,) in get_loader(dataset):
        names = [name for name in sample if not name.startswith("__")]
        found = {name: plain(name, sample[name]) for name in names}
        by_key = json.loads(store[sample["__key__"] + ".json"][0])
        rows[folder][sample["__key__"]] = {**found, "by key": by_key}
with open(output, "w") as file:
    json.dump(rows, file)
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (PACKAGES.exists() or os.environ.get("CI")), reason="make build/energon/ready"
    ),
]


def python(*words: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGES)}
    command = [sys.executable, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr


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
    folders = {subset: str(to / subset) for subset in SUBSETS}
    python("-c", READ, str(tmp_path / "read.json"), *folders.values())
    read = json.loads((tmp_path / "read.json").read_text())
    for subset, folder in folders.items():
        samples = samples_of(small_corpus, subset)
        assert read[folder].keys() == samples.keys()
        for key, members in samples.items():
            decoded = {name: as_energon_decodes(name, data) for name, data in members.items()}
            assert read[folder][key] == {**decoded, "by key": decoded["json"]}


def test_the_files_are_those_of_its_prepare(small_corpus: Path, tmp_path: Path) -> None:
    export(str(small_corpus), FORMATS["energon"], str(tmp_path / "ours"), ["t2i"])
    ours, theirs = tmp_path / "ours/t2i", tmp_path / "theirs"
    theirs.mkdir()
    for tar in small_corpus.glob("shards/t2i-*.tar"):
        shutil.copy(tar, theirs)
    prepare = ["prepare", "--non-interactive", "--num-workers", "1", "--split-parts", "train:.*"]
    kind = ["--sample-type", "CrudeWebdataset"]
    python("-m", "megatron.energon.cli.main", *prepare, *kind, str(theirs))
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
