"""Check one output shard, as a reader of the corpus meets it: tar, members, types, ranges."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from filters.registry import columns
from model.tokenizers.protocol import count_codes, read_schedule
from pipelines.sidecar import column, read_rejects, read_table
from pipelines.storage import CorpusError, Storage
from pipelines.verify_sidecars import Findings
from pipelines.write_shard import STAGE, output_number
from schemas.keys import output_shard
from schemas.recipe import Recipe
from schemas.sample import json_faults

CHUNK_BYTES = 1 << 24
# A shard with more faults than this says how many more there are.
MAX_FAULTS = 20

Member = tuple[str, str, int, bytes]  # key, extension, offset, data


@dataclass(frozen=True, kw_only=True)
class CheckShard:
    """Check a shard against the manifest's line of it."""

    store: Storage
    recipe: Recipe
    recipe_fingerprint: str
    output_shards: int
    tokens: Sequence[Mapping[str, Any]]  # the manifest's, one a member

    def __call__(self, line: Mapping[str, Any]) -> Findings:
        """Return the faults of a shard, and the samples in it or dead on the way into it."""
        path = line["path"]
        if not self.store.exists(path):
            return Findings(faults=[f"{path}: missing"])
        keys: list[str] = []
        faults = list(self._file_faults(line))
        try:
            faults += self._tar_faults(path, keys)
        except (tarfile.TarError, CorpusError) as error:
            faults.append(f"{path}: {error}")
        if len(keys) != line["samples"]:
            faults.append(f"{path}: {len(keys)} samples, the manifest says {line['samples']}")
        keys += column(read_rejects(self.store, STAGE, output_number(path)), "id")
        if len(faults) > MAX_FAULTS:
            faults[MAX_FAULTS:] = [f"{path}: {len(faults) - MAX_FAULTS} more faults"]
        return Findings.of_keys([key for key in keys if _is_key(key)], faults)

    def _file_faults(self, line: Mapping[str, Any]) -> Iterator[str]:
        digest, size = hashlib.sha256(), 0
        with self.store.open(line["path"]) as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
        if size != line["bytes"]:
            yield f"{line['path']}: {size:,} bytes, the manifest says {line['bytes']:,}"
        elif digest.hexdigest() != line["sha256"]:
            yield f"{line['path']}: sha256 is not the manifest's; some byte has changed"

    def _tar_faults(self, path: str, keys: list[str]) -> Iterator[str]:
        number = output_number(path)
        index: list[tuple[str, str, int, int]] = []
        seen: set[str] = set()
        for key, members in _samples(self._members(path)):
            keys.append(key)
            index += [(key, ext, offset, len(data)) for ext, (offset, data) in members.items()]
            where = f"{path}: {key}"
            if key in seen:
                yield f"{where}: a second sample of this key"
            seen.add(key)
            if not _is_key(key) or output_shard(key, self.output_shards) != number:
                yield f"{where}: does not belong into this shard"
            expected = ["jpg", "json", *sorted(made["member"] for made in self.tokens)]
            if list(members) != expected:
                yield f"{where}: members {list(members)}, expected {expected}"
                continue
            bodies = [data for _, data in members.values()]
            yield from (f"{where}: {fault}" for fault in self._sample_faults(key, *bodies))
        yield from self._index_faults(path, index)

    def _members(self, path: str) -> Iterator[Member]:
        with self.store.open(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                body = tar.extractfile(member)
                yield key, extension, member.offset_data, body.read() if body else b""

    def _index_faults(self, path: str, found: list[tuple[str, str, int, int]]) -> Iterator[str]:
        index = path.removesuffix(".tar") + ".parquet"
        listed = [tuple(row.values()) for row in read_table(self.store, index).to_pylist()]
        if listed != found:
            yield f"{index}: does not say where the members of {path} lie"

    def _sample_faults(self, key: str, jpg: bytes, text: bytes, *arrays: bytes) -> Iterator[str]:
        try:
            sample = json.loads(text)
        except ValueError as error:
            yield f"json: {error}"
            return
        if not isinstance(sample, dict):
            yield f"json: {type(sample).__name__}, expected an object"
            return
        faults = json_faults(sample)
        yield from faults
        if not faults:
            yield from self._json_faults(key, sample)
            yield from _image_faults(jpg, sample["width"], sample["height"])
            made_by = sorted(self.tokens, key=lambda made: made["member"])
            for made, npy in zip(made_by, arrays, strict=True):
                yield from array_faults(made, npy, sample["crop_aspect"])

    def _json_faults(self, key: str, sample: Mapping[str, Any]) -> Iterator[str]:
        if sample["key"] != key:
            yield f"json: key is {sample['key']!r}"
        if sample["recipe"] != self.recipe_fingerprint:
            yield f"json: made by recipe {sample['recipe']}, not {self.recipe_fingerprint}"
        expected = {c.name: str(c.type) for c in columns(self.recipe.measure.signals)}
        found = sample["signals"]
        if {*found} - {"text_repeats"} != {*expected}:
            yield f"json: signals {sorted(found)}, expected {sorted(expected)}"
        for name, type_ in expected.items():
            if name in found and not isinstance(found[name], _PYTHON_TYPES[type_]):
                yield f"json: signal {name} is {found[name]!r}, expected {type_}"


def array_faults(made: Mapping[str, Any], npy: bytes, aspect: float) -> Iterator[str]:
    """Say in what a member is not what the manifest's line of it says."""
    name = made["member"]
    try:
        array = np.load(io.BytesIO(npy), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        yield f"{name}: {error}"
        return
    schedule = made["schedules"].get(str(aspect))
    if schedule is None:
        yield f"{name}: aspect {aspect} is not one of the manifest's"
        return
    scales = read_schedule(schedule)
    if made["kind"] == "features":
        dtype, shape = made["dtype"], (made["channels"], *scales[-1])
    else:
        length = count_codes(scales)
        words = made["code_words"]
        dtype, shape = made["codes_dtype"], (length, words) if words > 1 else (length,)
    if made["views"] > 1:
        shape = (made["views"], *shape)
    if array.shape != shape or array.dtype != dtype:
        yield f"{name}: {array.dtype} {array.shape}, expected {dtype} {shape}"
    elif made["kind"] == "features" and not np.isfinite(array).all():
        yield f"{name}: NaN or infinite features"
    elif made["kind"] == "codes" and int(array.max()) >= made["codes_limit"]:
        yield f"{name}: code {array.max()}, the limit is {made['codes_limit']}"


_PYTHON_TYPES = {
    "bool": bool,
    "double": float,
    "float": float,
    "string": str,
    **{f"{sign}int{bits}": int for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "uint64": str,  # hexadecimal: readers of JSON hold integers in 53 or 63 bits
}


def _samples(members: Iterator[Member]) -> Iterator[tuple[str, dict[str, tuple[int, bytes]]]]:
    """Gather adjacent members of one key, as webdataset does."""
    key: str | None = None
    gathered: dict[str, tuple[int, bytes]] = {}
    for name, extension, offset, data in members:
        if name != key or extension in gathered:
            if key is not None:
                yield key, gathered
            key, gathered = name, {}
        gathered[extension] = (offset, data)
    if key is not None:
        yield key, gathered


def _image_faults(jpg: bytes, width: int, height: int) -> Iterator[str]:
    try:
        with Image.open(io.BytesIO(jpg), formats=["JPEG"]) as image:
            image.load()
    except (OSError, ValueError, SyntaxError) as error:
        yield f"jpg: {error}"
        return
    if (image.mode, *image.size) != ("RGB", width, height):
        yield f"jpg: {image.mode} {image.size}, the json says RGB {(width, height)}"


def _is_key(text: str) -> bool:
    return len(text) == 32 and not set(text) - set("0123456789abcdef")
