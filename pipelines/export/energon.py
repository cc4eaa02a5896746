"""Folders of Megatron-Energon: the tars as they are, and the files of `energon prepare`.

    edit/edit-000000.tar            as in the corpus
    edit/edit-000000.tar.idx        offset of each sample, and the end, as uint64
    edit/edit-000000.parquet        index of the members, as in the corpus
    edit/.nv-meta/dataset.yaml      samples are crude: members by their extension
                  split.yaml        all shards are in `train`
                  .info.json        samples of each shard
                  index.sqlite      offsets of all members, for Energon's joins and file stores
                  index.uuid        another one where a shard differs

The tars are copied, because Energon reads its files beside them, and a corpus holds no others.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar, Final
from uuid import UUID

import yaml

from model.data.manifest import DataError
from pipelines.export.energon_index import tar_index, write_sqlite
from pipelines.export.format import Exported
from pipelines.export.samples import Sample, Shard
from schemas.fingerprint import fingerprint
from schemas.store.retries import open_fs
from schemas.store.storage import Storage
from schemas.subsets import Subset

META: Final = ".nv-meta"
RELEASE: Final = "7.4.1"
"""Release of Energon whose files these are."""
_UUID, _SQLITE, _INFO = "index.uuid", "index.sqlite", ".info.json"
_CHUNK: Final = 1 << 22  # bytes that are copied at once


class Energon:
    """A copy of each tar, and what Energon's `prepare` writes of it."""

    name: ClassVar[str] = "energon"
    version: ClassVar[int] = 1

    def refusal(self, subset: Subset) -> str:
        """Return '': the format holds every subset."""
        return ""

    def folders(self, shard: Shard) -> Sequence[str]:
        """Return the folder of the subset and that of its description."""
        return shard.subset.name, f"{shard.subset.name}/{META}"

    def members(self, shard: Shard) -> Sequence[str]:
        """Return nothing: the tar is copied whole."""
        return ()

    def write(self, shard: Shard, samples: Iterable[Sample], to: Storage) -> Mapping[str, int]:
        """Copy a tar and its index, and write where its samples start.

        Raises:
            DataError: the tar has another hash than the manifest lists.
        """
        for _ in samples:
            pass  # it checks the messages
        stem = f"{shard.subset.name}/{shard.name}"
        index_fs, index = open_fs(_url(shard).removesuffix(".tar") + ".parquet")
        bodies = {f"{stem}.parquet": index_fs.cat_file(index)}
        with to.scratch() as folder:
            local = folder / "shard.tar"
            _copy(shard, local)
            bodies[f"{stem}.tar.idx"] = tar_index(local)
            to.commit_file(f"{stem}.tar", local)
        for path, body in bodies.items():
            to.commit_bytes(path, body)
        sizes = {path: len(body) for path, body in bodies.items()}
        return {f"{stem}.tar": shard.file.bytes, **sizes}

    def finish(self, exported: Mapping[str, Sequence[Exported]], to: Storage) -> None:
        """Write the description of each subset whose shards differ from those that it is of."""
        for name, shards in exported.items():
            folder = f"{name}/{META}"
            uuid = str(UUID(hex=fingerprint(*(each.fingerprint for each in shards))))
            there = to.listing(folder).keys()
            if {_UUID, _SQLITE} <= there and to.read(f"{folder}/{_UUID}") == uuid.encode():
                continue
            tars = [tar for each in shards for tar in each.files if tar.endswith(".tar")]
            names = [PurePosixPath(tar).name for tar in tars]
            counts = dict(zip(names, (each.samples for each in shards), strict=True))
            info = {"energon_version": RELEASE, "shard_counts": counts}
            split = {"split_parts": {"train": names, "val": [], "test": []}, "exclude": []}
            dataset = {
                "__module__": "megatron.energon",
                "__class__": "CrudeWebdataset",
                "subflavors": {"subset": name},
            }
            write_sqlite(tars, f"{folder}/{_SQLITE}", to)
            for file, described in {"dataset.yaml": dataset, "split.yaml": split}.items():
                text = yaml.safe_dump(described, sort_keys=False)
                to.commit_bytes(f"{folder}/{file}", text.encode())
            to.commit_bytes(f"{folder}/{_INFO}", json.dumps(info, indent=2).encode())
            to.commit_bytes(f"{folder}/{_UUID}", uuid.encode())  # the last: all others are there


def _url(shard: Shard) -> str:
    return f"{shard.url.rstrip('/')}/{shard.file.path}"


def _copy(shard: Shard, local: Path) -> None:
    fs, path = open_fs(_url(shard))
    digest = hashlib.sha256()
    with fs.open(path, "rb") as source, local.open("wb") as copied:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            copied.write(chunk)
    if digest.hexdigest() != shard.file.sha256:
        raise DataError(
            f"{shard.file.path}: sha256 {digest.hexdigest()}, the manifest lists "
            f"{shard.file.sha256}; restore the shard"
        )
