"""Programs that have never heard of this project read its shards: webdataset and datasets."""

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

OTHER_WEBDATASET = Path(__file__).parents[2] / "build/webdataset-1"  # made by the Makefile
INT64 = range(-(2**63), 2**63)

# Every program starts with this. The project is installed here, so its absence is enforced.
ALONE = """
import json, sys

OURS = ("filters", "model", "pipelines", "schemas")


class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in OURS:
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, NotInstalled())
for name in OURS:
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise AssertionError(f"{name} can be imported")
"""

WEBDATASET = """
from importlib.metadata import version

output, member, other, *tars = sys.argv[1:]
if other:
    sys.path.insert(0, other)
import webdataset

assert not other or webdataset.__file__.startswith(other), webdataset.__file__
rows = [
    {
        "key": sample["__key__"],
        "mode": sample["jpg"].mode,
        "size": sample["jpg"].size,
        "json": sample["json"],
        "codes": sample[member].tolist(),
        "dtype": sample[member].dtype.name,
    }
    for sample in webdataset.WebDataset(tars, shardshuffle=False).decode("pil")
]
with open(output, "w") as file:
    json.dump({"version": version("webdataset"), "rows": rows}, file)
"""

DATASETS = """
import datasets

output, member, streaming, *tars = sys.argv[1:]
datasets.disable_progress_bars()


def load(paths):
    files = {"train": paths}
    return datasets.load_dataset(
        "webdataset", data_files=files, split="train", streaming=bool(streaming)
    )


loaded = load(tars)
rows = [
    {
        "key": sample["__key__"],
        "mode": sample["jpg"].mode,
        "size": sample["jpg"].size,
        "json": sample["json"],
        "codes": [int(code) for code in sample[member]],  # numpy's integers when streamed
        "dtype": loaded.features[member].feature.dtype,
    }
    for sample in loaded
]
features = [load([tar]).features.to_dict() for tar in tars]
with open(output, "w") as file:
    json.dump({"version": datasets.__version__, "rows": rows, "features": features}, file)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """A program that reads all shards and writes down what it found."""

    name: str
    program: str
    argument: str
    version: str = ""  # what the version of the library starts with


READERS = (
    Reader(name="webdataset 0.2", program=WEBDATASET, argument="", version="0.2."),
    Reader(name="webdataset 1", program=WEBDATASET, argument=f"{OTHER_WEBDATASET}", version="1."),
    Reader(name="datasets", program=DATASETS, argument=""),
    Reader(name="datasets, streaming", program=DATASETS, argument="streaming"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shards:
    """The corpus as the standard library sees it."""

    manifest: dict[str, Any]
    tars: list[str]
    records: dict[str, dict[str, Any]]  # by key: the JSON
    codes: dict[str, np.ndarray]  # by key


@pytest.fixture(scope="module")
def shards(demo_corpus: Path) -> Shards:
    manifest = json.loads((demo_corpus / "manifest.json").read_text())
    paths = [str(demo_corpus / shard["path"]) for shard in manifest["subsets"]["t2i"]["shards"]]
    records, codes = {}, {}
    for path in paths:
        for name, body in members(path):
            key, _, extension = name.partition(".")
            if extension == "json":
                records[key] = json.loads(body)
            elif extension == manifest["tokens"][0]["member"]:
                codes[key] = np.load(io.BytesIO(body))
    return Shards(manifest=manifest, tars=paths, records=records, codes=codes)


def members(path: str) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as tar:
        for member in tar:
            yield member.name, tar.extractfile(member).read()  # type: ignore[union-attr]


def read_by(reader: Reader, shards: Shards, folder: Path) -> dict[str, Any]:
    """Run a reader in an interpreter of its own, outside of the checkout and without network."""
    assert not reader.argument.startswith("/") or Path(reader.argument).is_dir(), (
        f"{reader.argument} is missing: run `make .venv/ready`"
    )
    output = folder / "read.json"
    settings = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "HOME": str(folder)}
    arguments = [str(output), shards.manifest["tokens"][0]["member"], reader.argument, *shards.tars]
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE + reader.program, *arguments],
        cwd=folder,
        env=settings,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(output.read_text())


@pytest.fixture(scope="module")
def read_once(
    shards: Shards, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Reader], dict[str, Any]]:
    """Return a function that runs a reader the first time that it is asked for."""
    return cache(lambda reader: read_by(reader, shards, tmp_path_factory.mktemp("reader")))


# Each starts an interpreter; of each library one is quick enough.
SLOW = ("webdataset 0.2", "datasets, streaming")
MARKED = [
    pytest.param(each, marks=pytest.mark.slow if each.name in SLOW else (), id=each.name)
    for each in READERS
]


@pytest.fixture(params=MARKED)
def read(
    request: pytest.FixtureRequest, read_once: Callable[[Reader], dict[str, Any]]
) -> dict[str, Any]:
    """What a reader found; the fixture fails if it used another version than it is named for."""
    found = read_once(request.param)
    assert found["version"].startswith(request.param.version)
    return found


def test_a_reader_finds_each_sample_of_the_manifest_once(
    read: dict[str, Any], shards: Shards
) -> None:
    keys = [row["key"] for row in read["rows"]]
    assert len(keys) == shards.manifest["subsets"]["t2i"]["samples"] > 0
    assert keys == list(shards.records)


def test_images_decode_to_rgb_of_the_size_in_the_json(read: dict[str, Any]) -> None:
    for row in read["rows"]:
        assert row["mode"] == "RGB"
        assert row["size"] == [row["json"]["width"], row["json"]["height"]]


def test_json_arrives_with_the_values_and_types_it_was_written_with(
    read: dict[str, Any], shards: Shards
) -> None:
    for row in read["rows"]:
        written = shards.records[row["key"]]
        # As text, because 1 == 1.0 == True.
        assert json.dumps(row["json"], sort_keys=True) == json.dumps(written, sort_keys=True)


def test_tokens_arrive_as_the_codes_that_the_manifest_describes(
    read: dict[str, Any], shards: Shards
) -> None:
    (tokens,) = shards.manifest["tokens"]
    sides = [scale.split("x") for scale in tokens["schedules"]["1.0"].split()]
    length = sum(int(rows) * int(columns) for rows, columns in sides)
    for row in read["rows"]:
        assert row["dtype"] == tokens["codes_dtype"]
        assert len(row["codes"]) == length
        assert 0 <= min(row["codes"]) <= max(row["codes"]) < tokens["codes_limit"]
        assert row["codes"] == shards.codes[row["key"]].tolist()


@pytest.mark.parametrize("read", MARKED[2:], indirect=True)
def test_datasets_infers_the_same_features_from_every_shard(
    read: dict[str, Any], shards: Shards
) -> None:
    assert len(read["features"]) == len(shards.tars)
    assert all(features == read["features"][0] for features in read["features"])


def types(value: Any, path: str = "") -> dict[str, str]:
    """Flatten a JSON value to the type of each of its parts; a list is all of its items."""
    if isinstance(value, dict):
        parts = [types(part, f"{path}/{name}") for name, part in value.items()]
    elif isinstance(value, list):
        parts = [types(part, f"{path}[]") for part in value]
    else:
        return {path: type(value).__name__}
    merged = {name: kind for part in parts for name, kind in part.items()}
    assert all(merged[name] == kind for part in parts for name, kind in part.items()), path
    return merged


def test_every_sample_has_the_same_fields_of_the_same_types(shards: Shards) -> None:
    """An empty list is a fault too: `datasets` would take it for a list of nulls."""
    first, *others = (types(record) for record in shards.records.values())
    for key, found in zip(list(shards.records)[1:], others, strict=True):
        assert found == first, key
    assert not any("." in name for name in first)


def integers(value: Any) -> Iterator[int]:
    if isinstance(value, int):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from integers(part)


def test_every_integer_fits_the_64_bits_with_a_sign_that_datasets_knows(shards: Shards) -> None:
    for key, record in shards.records.items():
        assert all(number in INT64 for number in integers(record)), key
