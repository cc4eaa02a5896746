"""WebDataset tars, img2dataset's among them: rows are read, bytes stay where they lie."""

import hashlib
import posixpath
import struct
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from pipelines.raw_shard import RawShard, wrong_size
from pipelines.readers.files import expand, versions
from pipelines.readers.listing import (
    IMAGE_SUFFIXES,
    MAX_TEXT_BYTES,
    TEXT_SUFFIXES,
    Listed,
    SourcePlan,
    Unit,
    storable,
    with_texts,
)
from pipelines.readers.parquet_lists import open_parquet
from pipelines.retries import open_fs
from pipelines.sidecar import Reject, column
from pipelines.storage import CorpusError, Storage
from schemas.recipe import TarSource

SHOWN_MEMBERS = 8  # in the dead letter of a sample without an image


@dataclass(frozen=True, slots=True)
class TarReader:
    """Samples of existing tars; one tar is one unit.

    As for webdataset, a sample is a run of members of the same folder and name up to the first
    dot; a member that comes again begins another. A sample's first image is taken, one like
    KEY.jpg before one like KEY.depth.png. Other members than images, KEY.txt and KEY.json are
    passed over, as are links and devices.
    """

    source: TarSource
    max_bytes: int  # of an image

    def version(self) -> str:
        """Return the versions of the tars."""
        return versions(self.source.path)

    def plan(self, rows_per_shard: int, store: Storage) -> SourcePlan:
        """Make a unit of every tar, whatever its rows."""
        units = [
            Unit(
                source=self.source.name,
                path=file.url,
                name=file.name,
                version=file.version,
                start=0,
                end=file.size,
            )
            for file in expand(self.source.path)
        ]
        return SourcePlan(units=units)

    def rows(self, unit: Unit) -> Iterator[Listed | Reject]:
        """List the rows that img2dataset failed to fetch, if it made the tar, then the samples."""
        yield from _failures_beside(unit)
        for sample in _samples(unit):
            yield sample if isinstance(sample, Reject) else self._listed(sample, unit)

    def acquire(self, unit: Unit, rows: pa.Table, raw: RawShard) -> None:
        """Hash each image where it lies, in the tar's order.

        Raises:
            CorpusError: if the tar has become shorter since its rows were listed.
        """
        fs, path = open_fs(unit.path)
        places = (tuple(map(int, place.split("+"))) for place in column(rows, "place"))
        with fs.open(path, "rb") as file:
            for (offset, length), key in sorted(zip(places, column(rows, "key"), strict=True)):
                if why := wrong_size(length, self.max_bytes, f"{unit.name} at byte {offset:,}"):
                    raw.reject(key, *why)
                    continue
                file.seek(offset)
                body = file.read(length)
                if len(body) < length:
                    raise CorpusError(f"{unit.path}: changed while it was read; build again")
                raw.refer(key, unit.path, offset, length, hashlib.sha256(body).hexdigest())

    def _listed(self, sample: "_Sample", unit: Unit) -> Listed | Reject:
        id_ = storable(f"{unit.name}::{sample.name}")
        if sample.image is None:
            detail = f"its members: {' '.join([*sample.extensions][:SHOWN_MEMBERS])}"
            return Reject(id=id_, reason="no_image", detail=storable(detail))
        place = f"{sample.image.offset_data}+{sample.image.size}"
        row = with_texts(
            Listed(id=id_, url="", place=place),
            sample.texts,
            self.source.columns,
            text=self.source.text,
        )
        if isinstance(row, Reject):
            return row
        return replace(row, url=storable(row.url or f"{unit.name}::{sample.image.name}"))


@dataclass(slots=True)
class _Sample:
    name: str
    image: tarfile.TarInfo | None = None
    plain: bool = False  # the image is KEY.jpg rather than KEY.something.jpg
    texts: list[tuple[str, bytes]] = field(default_factory=list)
    extensions: dict[str, None] = field(default_factory=dict)

    def add(self, tar: tarfile.TarFile, member: tarfile.TarInfo, extension: str) -> None:
        self.extensions[extension] = None
        plain = extension in IMAGE_SUFFIXES
        if plain or posixpath.splitext(extension)[1] in IMAGE_SUFFIXES:
            if self.image is None or (plain and not self.plain):
                self.image, self.plain = member, plain
        elif extension in TEXT_SUFFIXES and (file := tar.extractfile(member)):
            self.texts.append((f"{self.name}{extension}", file.read(MAX_TEXT_BYTES + 1)))


def _samples(unit: Unit) -> Iterator[_Sample | Reject]:
    """Yield the samples of a tar; past damage, and in the sample before it, nothing is sure."""
    sample: _Sample | None = None
    try:
        for tar, member in _members(unit.path):
            folder, base = posixpath.split(member.name)
            stem, _, extension = base.partition(".")
            if not stem or not extension:  # no member of a sample for webdataset either
                continue
            name, extension = posixpath.join(folder, stem), f".{extension.lower()}"
            if sample is None or sample.name != name or extension in sample.extensions:
                if sample is not None:
                    yield sample
                sample = _Sample(name)
            sample.add(tar, member, extension)
    except tarfile.TarError as error:
        lost = f"sample {sample.name!r} and what follows" if sample else "every sample"
        detail = f"{error}; lost: {lost}"
        yield Reject(id=unit.name, reason="truncated_tar", detail=storable(detail))
        return
    if sample is not None:
        yield sample


def _members(url: str) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Walk the regular members of a tar, reading only their headers.

    Raises:
        tarfile.TarError: where the tar is damaged or ends before its end mark. `tarfile` alone
            takes a damaged header for the end, and does not miss the mark.
    """
    fs, path = open_fs(url)
    with fs.open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        with _damage():
            tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115
        while (member := _next(tar)) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep them all
            if member.size < 0:  # would be walked round and round
                raise tarfile.ReadError(f"{member.name} has a negative size")
            if member.isreg() and not member.issparse():
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError(f"{member.name} is cut short")
                yield tar, member
        file.seek(tar.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"no end mark and no member at byte {tar.offset:,}")


def _next(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
    with _damage():
        return tar.next()


@contextmanager
def _damage() -> Iterator[None]:
    """Name what `tarfile` lets through from parsing a header as what it is."""
    try:
        yield
    except (ValueError, OverflowError, struct.error) as error:
        raise tarfile.ReadError(f"a header that cannot be read ({error})") from error


def _failures_beside(unit: Unit) -> Iterator[Reject]:
    """Yield the rows that img2dataset's Parquet beside the tar says were not downloaded."""
    fs, path = open_fs(posixpath.splitext(unit.path)[0] + ".parquet")
    if not fs.exists(path):
        return
    wanted = ("key", "url", "status", "error_message")
    with fs.open(path, "rb") as file:
        parquet = open_parquet(file, path)
        if not set(wanted) <= set(parquet.schema_arrow.names):
            return  # not img2dataset's
        for batch in parquet.iter_batches(columns=list(wanted)):
            rows = (row for row in batch.to_pylist() if row["status"] != "success")
            yield from (_failure(row, unit) for row in rows)


def _failure(row: dict[str, Any], unit: Unit) -> Reject:
    return Reject(
        id=f"{unit.name}::{row['key']}",
        reason=f"img2dataset_{row['status'] or 'unknown'}",
        detail=f"{row['url']}: {row['error_message']}",
    )
