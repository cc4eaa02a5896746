"""Programs of others that read exports: Energon's loader and MosaicML's streaming.

They run in processes of their own, with packages that the Makefile installs beside .venv.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from corpus import ROOT

ENERGON = ROOT / "build/energon"  # by `make build/energon/ready`
STREAMING = ROOT / "build/mds"  # by `make build/mds/ready`


def needs(*packages: Path) -> pytest.MarkDecorator:
    """Skip a test without these packages, but never in CI, where the Makefile installs them."""
    missing = [path.name for path in packages if not path.exists()]
    targets = " ".join(f"build/{name}/ready" for name in missing)
    skipped = bool(missing) and not os.environ.get("CI")
    return pytest.mark.skipif(skipped, reason=f"make {targets}")


def python(packages: Path, *words: str) -> str:
    """Run Python with further packages; return what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    command = [sys.executable, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout


_READ = """
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


def read_by_energon(folders: Sequence[Path], scratch: Path) -> list[dict[str, dict[str, Any]]]:
    """Return the members of each sample of each folder, by key; folders are named as subsets.

    An image is the sha256 of its pixels, an array is type and values, and `by key` is KEY.json as
    Energon's file store finds it.
    """
    output = scratch / "energon.json"
    python(ENERGON, "-c", _READ, str(output), *map(str, folders))
    found = json.loads(output.read_text())
    return [found[str(folder)] for folder in folders]


_READ_AND_WRITE = """
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


def read_by_streaming(
    folders: Sequence[Path],
    scratch: Path,
    *,
    written: Mapping[Path, int] | None = None,
    samples: Sequence[Mapping[str, str]] = (),
    encodings: Mapping[str, str] | None = None,
) -> list[list[dict[str, Any]]]:
    """Return the columns of each sample of each folder, and write samples by `MDSWriter`.

    An image is the sha256 of its file, an array is type, shape and values.

    Args:
        folders: to read.
        scratch: a folder for files of its own.
        written: folders to write, and how many bytes a file may have.
        samples: to write: the file of each column.
        encodings: of the columns to write.
    """
    asked = {
        "folders": [str(folder) for folder in folders],
        "written": {str(folder): size for folder, size in (written or {}).items()},
        "samples": samples,
        "encodings": encodings,
    }
    given, output = scratch / "asked.json", scratch / "streaming.json"
    given.write_text(json.dumps(asked))
    python(STREAMING, "-c", _READ_AND_WRITE, str(given), str(output))
    found = json.loads(output.read_text())
    return [found[str(folder)] for folder in folders]
