"""WebDataset tars, img2dataset's output among them: rows are read, bytes stay where they lie."""

import hashlib
import json
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.raw_shard import RawShard
from pipelines.readers.folders import IMAGE_SUFFIXES, MAX_TEXT_BYTES
from pipelines.readers.listing import Listed, Unit, as_text, listed_from
from pipelines.readers.lists import expand
from pipelines.sidecar import Reject, column
from pipelines.storage import Storage
from schemas.recipe import TarSource


@dataclass(frozen=True, slots=True)
class TarReader:
    """Samples of existing tars; one tar is one unit."""

    source: TarSource
    max_bytes: int  # of an image

    def plan(self, rows_per_shard: int, store: Storage) -> list[Unit]:
        """Make a unit of every tar, whatever its rows."""
        return [
            Unit(
                source=self.source.name,
                path=fs.unstrip_protocol(name),
                version=str(fs.ukey(name)),
                start=0,
                end=fs.size(name),
            )
            for fs, name in expand(self.source.path)
        ]

    def rows(self, unit: Unit) -> Iterator[Listed | Reject]:
        """List the samples, then the rows that img2dataset failed to fetch, if it made the tar."""
        tar = posixpath.basename(unit.path)
        yield from _failures_beside(unit.path)
        for sample in _samples(unit.path):
            if isinstance(sample, Reject):
                yield sample
                continue
            id_ = f"{tar}::{sample.name}"
            if not sample.image:
                yield Reject(id=id_, reason="no_image", detail=f"members: {sample.members}")
                continue
            row = listed_from(id_, sample.described, self.source.columns, place=sample.image)
            yield Listed(
                id=id_,
                url=row.url or f"{tar}::{sample.image}",
                place=row.place,
                text=sample.text or row.text,
                title=row.title,
                tags=row.tags,
                licence=row.licence,
                author=row.author,
            )

    def acquire(self, unit: Unit, rows: pa.Table, raw: RawShard) -> None:
        """Note where each image lies in the tar, and its hash."""
        wanted = dict(zip(column(rows, "place"), column(rows, "key"), strict=True))
        for tar, member in _members(unit.path):
            key = wanted.pop(member.name, None)
            if key is None:
                continue
            if member.size > self.max_bytes:
                raw.reject(key, "too_large", f"{member.name}: {member.size:,} bytes")
                continue
            body = _read(tar, member)
            digest = hashlib.sha256(body).hexdigest()
            raw.refer(key, unit.path, member.offset_data, member.size, digest)
        for place, key in wanted.items():
            raw.reject(key, "missing_file", f"{place} is no longer in {unit.path}")


@dataclass(slots=True)
class _Sample:
    """Members of one name up to the first dot, gathered while they are adjacent."""

    name: str
    image: str
    text: str
    described: dict[str, Any]
    members: list[str]


def _samples(path: str) -> Iterator[_Sample | Reject]:
    sample: _Sample | None = None
    try:
        for tar, member in _members(path):
            folder, base = posixpath.split(member.name)
            name = posixpath.join(folder, base.split(".", 1)[0])
            if sample is None or sample.name != name:
                if sample is not None:
                    yield sample
                sample = _Sample(name=name, image="", text="", described={}, members=[])
            _gather(sample, tar, member)
    except tarfile.ReadError as error:
        # Samples before the damage are whole; the rest is unknown, and said to be so.
        yield Reject(id=path, reason="truncated_tar", detail=f"{path}: {error}")
    if sample is not None and sample.image:
        yield sample


def _gather(sample: _Sample, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    sample.members.append(member.name)
    suffix = posixpath.splitext(member.name)[1].lower()
    if suffix in IMAGE_SUFFIXES and not sample.image:
        sample.image = member.name
    elif suffix in (".txt", ".json") and member.size <= MAX_TEXT_BYTES:
        text = _read(tar, member).decode("utf-8", "replace")
        if suffix == ".txt":
            sample.text = as_text(text)
        else:
            sample.described = _json_object(text)


def _json_object(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _members(path: str) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Walk the regular members of a tar, reading only their headers."""
    with fsspec.open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:  # type: ignore[arg-type]
        while (member := tar.next()) is not None:
            tar.members.clear()  # tarfile would keep them all
            if member.isreg():
                yield tar, member


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return file.read() if file else b""


def _failures_beside(path: str) -> Iterator[Reject]:
    """Yield the rows that img2dataset's Parquet beside the tar says were not downloaded."""
    fs, name = fsspec.core.url_to_fs(posixpath.splitext(path)[0] + ".parquet")
    if not fs.exists(name):
        return
    with fs.open(name, "rb") as file:
        parquet = pq.ParquetFile(file)
        if not {"key", "status", "error_message"} <= set(parquet.schema_arrow.names):
            return
        for batch in parquet.iter_batches(columns=["key", "status", "error_message"]):
            for row in batch.to_pylist():
                if row["status"] != "success":
                    id_ = f"{posixpath.basename(path)}::{row['key']}"
                    reason = f"img2dataset_{row['status']}"
                    yield Reject(id=id_, reason=reason, detail=str(row["error_message"]))
