"""MDS, the files of MosaicML Streaming: `StreamingDataset(local=".../edit")` reads a subset.

    edit/index.json                    all files of the subset
    edit/edit-000000/index.json        the files of one shard, which are a data set too
    edit/edit-000000/shard.00000.mds   samples of the shard, up to 64 MiB

The bytes are those of `MDSWriter`. It is not used: its package demands releases of numpy and
transformers that are older than the training code takes, and it does not write to fsspec URLs.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.export.format import Exported
from pipelines.export.samples import Sample, Shard
from pipelines.export.tables import array_columns, image_columns, load_array, sample_members
from schemas.store.storage import Storage
from schemas.subsets import Subset

INDEX: Final = "index.json"
SIZE_LIMIT: Final = 1 << 26
"""Bytes of a file, as `MDSWriter` has it: the reader fetches whole files."""
_SHAPE_TYPES: Final = ("uint8", "uint16", "uint32", "uint64")


class Mds:
    """A folder a shard, and an index of all folders of a subset.

    Args:
        size_limit: bytes of a file; a file with one sample may be larger.
    """

    name: ClassVar[str] = "mds"
    version: ClassVar[int] = 1

    def __init__(self, size_limit: int = SIZE_LIMIT) -> None:
        self._size_limit = size_limit

    def refusal(self, subset: Subset) -> str:
        """Return '': the format holds every subset."""
        return ""

    def folders(self, shard: Shard) -> Sequence[str]:
        """Return the folder of the subset and that of the shard."""
        return shard.subset.name, f"{shard.subset.name}/{shard.name}"

    def members(self, shard: Shard) -> Sequence[str]:
        """Return all images and arrays."""
        return sample_members(shard)

    def write(self, shard: Shard, samples: Iterable[Sample], to: Storage) -> Mapping[str, int]:
        """Write the files of a shard and then their index; one file is in memory.

        Raises:
            DataError: an array is damaged.
        """
        encodings = _encodings(shard)
        described = {
            **{"version": 2, "format": "mds", "compression": None, "hashes": []},
            "size_limit": self._size_limit,
            "column_names": list(encodings),
            "column_encodings": list(encodings.values()),
            "column_sizes": [None] * len(encodings),  # none has a fixed size
        }
        head = json.dumps(described, sort_keys=True).encode()
        encoded = (_encoded(shard, sample, encodings) for sample in samples)
        folder = f"{shard.subset.name}/{shard.name}"
        files, listed = dict[str, int](), list[dict[str, Any]]()
        for number, group in enumerate(_groups(encoded, len(head), self._size_limit)):
            name, body = f"shard.{number:05}.mds", _file(head, group)
            to.commit_bytes(f"{folder}/{name}", body)
            files[f"{folder}/{name}"] = len(body)
            raw = {"basename": name, "bytes": len(body), "hashes": {}}
            listed.append({**described, "raw_data": raw, "samples": len(group), "zip_data": None})
        index = _index(listed)
        to.commit_bytes(f"{folder}/{INDEX}", index)
        return {**files, f"{folder}/{INDEX}": len(index)}

    def finish(self, exported: Mapping[str, Sequence[Exported]], to: Storage) -> None:
        """Write the index of each subset, in which file names have the folder of their shard."""
        for name, shards in exported.items():
            listed = list[dict[str, Any]]()
            for path in (path for each in shards for path in each.files if path.endswith(INDEX)):
                folder = path.split("/")[-2]
                for each in json.loads(to.read(path))["shards"]:
                    raw = each["raw_data"]
                    raw["basename"] = f"{folder}/{raw['basename']}"
                    listed.append(each)
            to.commit_bytes(f"{name}/{INDEX}", _index(listed))


def encode_array(array: NDArray[Any]) -> bytes:
    """Encode an array as `ndarray`: type, number of axes and type of the shape, shape, values.

    >>> encode_array(np.array([[1, 2, 300]], np.uint16)).hex(" ")
    '10 08 01 03 01 00 02 00 2c 01'
    """
    type_ = array.itemsize * 8 + "uif".index(array.dtype.kind)
    width = next(n for n, name in enumerate(_SHAPE_TYPES) if max(array.shape) <= np.iinfo(name).max)
    shape = np.array(array.shape, np.dtype(_SHAPE_TYPES[width]).newbyteorder("<"))
    head = bytes([type_, array.ndim << 2 | width])
    return head + shape.tobytes() + array.astype(array.dtype.newbyteorder("<")).tobytes()


def _encodings(shard: Shard) -> dict[str, str]:
    """Return the encoding of each column, in the order in which a file has them."""
    images, arrays = image_columns(shard.subset), array_columns(shard)
    found = {"json": "json", **dict.fromkeys(images, "jpeg"), **dict.fromkeys(arrays, "ndarray")}
    return dict(sorted(found.items()))


def _encoded(shard: Shard, sample: Sample, columns: Iterable[str]) -> bytes:
    """Return a sample: the size of each column, and then the columns."""
    images, arrays = image_columns(shard.subset), array_columns(shard)
    values = {"json": json.dumps(sample.fields).encode()}
    values |= {column: sample.members[member] for column, member in images.items()}
    for column, member in arrays.items():
        array = load_array(f"{shard.file.path}: {sample.key}.{member}", sample.members[member])
        values[column] = encode_array(array)
    ordered = [values[column] for column in columns]
    return _numbers(map(len, ordered)) + b"".join(ordered)


def _groups(encoded: Iterable[bytes], head: int, limit: int) -> Iterator[list[bytes]]:
    """Yield the samples of each file: as many as fit, with their offsets, and at least one."""
    group, size = list[bytes](), 0
    for each in encoded:
        if group and size + len(each) + 4 > limit:
            yield group
            group = []
        size = (size if group else 4 + 4 + head) + len(each) + 4
        group.append(each)
    if group:
        yield group


def _file(head: bytes, samples: Sequence[bytes]) -> bytes:
    """Return a file: number of samples, where each starts and ends, description, samples."""
    starts = np.cumsum([4 + 4 * (len(samples) + 1) + len(head), *map(len, samples)])
    return _numbers([len(samples), *starts.tolist()]) + head + b"".join(samples)


def _numbers(values: Iterable[int]) -> bytes:
    return np.array([*values], "<u4").tobytes()


def _index(shards: Sequence[Mapping[str, Any]]) -> bytes:
    return json.dumps({"version": 2, "shards": shards}, sort_keys=True).encode()
