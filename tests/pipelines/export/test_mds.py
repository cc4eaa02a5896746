"""Exports as MDS, read by MosaicML's own `StreamingDataset`, against bytes of its `MDSWriter`."""

import json
import os
import subprocess
import sys
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus import ROOT
from exports import files_of, samples_of

from pipelines.export.formats import FORMATS
from pipelines.export.job import export
from pipelines.export.mds import Mds

PACKAGES = ROOT / "build/mds"  # by `make build/mds/ready`
SUBSETS = ("t2i", "edit", "understand", "preference", "preference_edit")
IMAGES = {
    "jpg": "image",
    "source.jpg": "source_image",
    "chosen.jpg": "chosen_image",
    "rejected.jpg": "rejected_image",
}
# One program, because its package takes many seconds to import.
READ_AND_WRITE = """
import json
import sys
from hashlib import sha256

import numpy as np
from PIL import Image
from streaming import MDSWriter, StreamingDataset

asked = json.load(open(sys.argv[1]))


def plain(value):
    if hasattr(value, "convert"):  # a JPEG that is not decoded yet
        value.fp.seek(0)
        return sha256(value.fp.read()).hexdigest()
    return value if isinstance(value, dict) else [value.dtype.name, value.shape, value.tolist()]


rows = {}
for folder in asked["folders"]:
    dataset = StreamingDataset(local=folder, shuffle=False, batch_size=1)
    samples = [dataset[at] for at in range(len(dataset))]
    rows[folder] = [{name: plain(each[name]) for name in each} for each in samples]
with open(sys.argv[2], "w") as file:
    json.dump(rows, file)

kinds = asked["encodings"]
load = {"json": lambda path: json.load(open(path)), "jpeg": Image.open, "ndarray": np.load}
for out, size in asked["written"].items():
    with MDSWriter(columns=kinds, out=out, size_limit=size) as writer:
        for paths in asked["samples"]:
            writer.write({name: load[kind](paths[name]) for name, kind in kinds.items()})
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (PACKAGES.exists() or os.environ.get("CI")), reason="make build/mds/ready"
    ),
]


def column(member: str) -> str:
    return IMAGES.get(member, member.removesuffix(".npy").replace(".", "_"))


def as_read(member: str, data: bytes) -> Any:
    if member.endswith("jpg"):
        return sha256(data).hexdigest()
    if member == "json":
        return json.loads(data)
    array = np.load(BytesIO(data))
    return [array.dtype.name, [*array.shape], array.tolist()]


def test_its_reader_reads_all_and_its_writer_writes_the_same_files(
    small_corpus: Path, tmp_path: Path
) -> None:
    to = tmp_path / "to"
    export(str(small_corpus), FORMATS["mds"], str(to))
    folders = {subset: str(to / subset) for subset in SUBSETS}
    one_shard = str(to / "t2i/t2i-000001")  # a data set of its own
    sizes = {1 << 26: 1, 4000: 2, 2000: 3}  # files of so many bytes at most; three samples fill
    asked = {
        "folders": [*folders.values(), one_shard],
        "written": {str(tmp_path / f"theirs-{size}"): size for size in sizes},
        "samples": first_shard(small_corpus, tmp_path),
        "encodings": {
            **{"json": "json", "image": "jpeg"},
            **{"tokens256": "ndarray", "features256": "ndarray"},
        },
    }
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    environment = {**os.environ, "PYTHONPATH": str(PACKAGES)}
    command = [sys.executable, "-c", READ_AND_WRITE, "asked.json", "read.json"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    read = json.loads((tmp_path / "read.json").read_text())
    for subset, folder in folders.items():
        assert read[folder] == [
            {column(member): as_read(member, data) for member, data in members.items()}
            for members in samples_of(small_corpus, subset).values()
        ]
    assert read[one_shard] == read[folders["t2i"]][3:]
    for size, count in sizes.items():
        ours = tmp_path / f"ours-{size}"
        export(str(small_corpus), Mds(size), str(ours), ["t2i"])
        assert files_of(ours / "t2i/t2i-000000") == files_of(tmp_path / f"theirs-{size}")
        assert len([*ours.glob("t2i/t2i-000000/*.mds")]) == count


def first_shard(corpus: Path, folder: Path) -> list[dict[str, str]]:
    """Write the members of the three samples of the first shard as files; return their paths."""
    samples: list[dict[str, str]] = []
    for key, members in list(samples_of(corpus, "t2i").items())[:3]:
        paths = {column(member): folder / f"{key}.{member}" for member in members}
        for member, data in members.items():
            paths[column(member)].write_bytes(data)
        samples.append({name: str(path) for name, path in paths.items()})
    return samples
