"""Folders of images with their texts: generated images and their prompts, read in place."""

import errno
import hashlib
import json
import os.path
import posixpath
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from pipelines.raw_shard import RawShard, wrong_size
from pipelines.readers.files import file_version, open_path, versions
from pipelines.readers.list_files import plan_lists, read_list, read_rows
from pipelines.readers.listing import (
    IMAGE_SUFFIXES,
    MAX_TEXT_BYTES,
    TEXT_SUFFIXES,
    Listed,
    SourcePlan,
    Unit,
    is_storable,
    storable,
    with_texts,
)
from pipelines.retries import open_fs
from pipelines.sidecar import Reject, column
from pipelines.storage import CorpusError, Storage
from schemas.recipe import FolderSource

# Images read at once, for file systems whose latency is longer than the hashing; memory holds
# that many.
READ_THREADS = 8
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


@dataclass(frozen=True, slots=True)
class FolderReader:
    """Images of a folder; bytes are referenced, not copied.

    Without a list the folder itself is listed, by the one process that plans: a few hundred bytes
    of its memory a file. Paths stand as they are listed, and may not leave the folder, by `..`
    or by a link.
    """

    source: FolderSource
    max_bytes: int  # of an image

    def version(self) -> str:
        """Return the versions of the lists, or of every image and text of the folder."""
        if self.source.list:
            return f"{versions(self.source.list)}\n{sorted(self.source.columns.explicit())}"
        return hashlib.sha256(b"".join(self._listing())).hexdigest()

    def plan(self, rows_per_shard: int, store: Storage) -> SourcePlan:
        """Cut the source's list into units; without one, list the folder first."""
        source = self.source
        if source.list:
            return plan_lists(source, source.list, rows_per_shard, store)
        lines = self._listing()
        path = f"sources/listing-{source.name}.jsonl"
        store.commit_bytes(path, b"".join(lines))
        url = store.fs.unstrip_protocol(store.locate(path)[1])
        units = list(_listing_units(source.name, url, lines, rows_per_shard))
        return SourcePlan(units=units, files=[path])

    def rows(self, unit: Unit) -> Iterator[Listed | Reject]:
        """List the images; a path out of the folder is a dead letter."""
        if not self.source.list:
            for _, row in read_rows(unit, self.source.columns):
                yield row if isinstance(row, Reject) else self._with_texts_beside(row)
            return
        for row in read_list(unit, self.source.columns, self.source.quoting):
            yield row if isinstance(row, Reject) else self._checked(row)

    def acquire(self, unit: Unit, rows: pa.Table, raw: RawShard) -> None:
        """Hash each image where it lies."""
        fs, root = open_fs(self.source.path)
        paths = [posixpath.join(root, place) for place in column(rows, "place")]
        with ThreadPoolExecutor(READ_THREADS) as threads:
            found = threads.map(lambda path: self._hash(fs, path), paths)
            for key, path, result in zip(column(rows, "key"), paths, found, strict=True):
                if isinstance(result, Reject):
                    raw.reject(key, result.reason, result.detail)
                else:
                    length, digest = result
                    raw.refer(key, fs.unstrip_protocol(path), 0, length, digest)

    def _hash(self, fs: Any, path: str) -> tuple[int, str] | Reject:
        """Return (bytes, sha256) of an image."""
        info = _file_info(fs, path)
        if info is None:
            return Reject(id=path, reason="missing_file", detail=f"{path}: no such file")
        if why := wrong_size(info["size"], self.max_bytes, path):
            return Reject(id=path, reason=why[0], detail=why[1])
        body = fs.cat_file(path)
        return len(body), hashlib.sha256(body).hexdigest()

    def _checked(self, row: Listed) -> Listed | Reject:
        if not row.url:
            return Reject(id=row.id, reason="missing_path", detail="the row names no image")
        if why := self._why_not(row.url):
            return Reject(id=row.id, reason="bad_path", detail=f"{row.url!r} {why}")
        return replace(row, place=row.url)

    def _why_not(self, path: str) -> str:
        """Return why a path relative to the folder may not be read, '' if it may."""
        if not is_storable(path) or "\0" in path:
            return "is not a name that UTF-8 can hold"
        if "::" in path or "://" in path:
            return "would be read as a URL"
        fs, root = open_fs(self.source.path)
        outside = posixpath.isabs(path) or posixpath.normpath(path).split("/")[0] == ".."
        if not outside and isinstance(fs, LocalFileSystem):
            real_root = os.path.realpath(root)
            real = os.path.realpath(os.path.join(root, path))
            outside = os.path.commonpath([real_root, real]) != real_root
        return "leaves the folder" if outside else ""

    def _with_texts_beside(self, row: dict[str, Any]) -> Listed | Reject:
        fs, root = open_fs(self.source.path)
        id_ = storable(row["path"])
        listed = self._checked(Listed(id=id_, url=row["path"]))
        if isinstance(listed, Reject):
            return listed
        texts: list[tuple[str, bytes]] = []
        for name in row["texts"]:
            path = posixpath.join(root, name)
            info = _file_info(fs, path)
            if info is None or self._why_not(name):
                return Reject(id=id_, reason="bad_path", detail=f"{name!r} is no file inside")
            end = min(info["size"], MAX_TEXT_BYTES + 1)
            texts.append((name, fs.cat_file(path, start=0, end=end) if end else b""))
        return with_texts(listed, texts, self.source.columns, text=self.source.text)

    def _listing(self) -> list[bytes]:
        """Return a JSON line an image: its path, the texts beside it, the version of all."""
        fs, root = open_path(self.source.path)
        if not fs.isdir(root):
            raise CorpusError(f"{self.source.path}: no such folder")
        found = fs.find(root, detail=True)
        files = {posixpath.relpath(path, root): info for path, info in found.items()}
        lines: list[bytes] = []
        for name in sorted(files):
            stem, suffix = posixpath.splitext(name)
            if suffix.lower() not in IMAGE_SUFFIXES:
                continue
            texts = [stem + end for end in TEXT_SUFFIXES if stem + end in files]
            version = [file_version(files[each]) for each in (name, *texts)]
            line = json.dumps({"path": name, "texts": texts, "version": version})
            lines.append(f"{line}\n".encode())
        if not lines:
            known = ", ".join(IMAGE_SUFFIXES)
            raise CorpusError(f"{self.source.path}: no image in this folder ({known})")
        return lines


def _listing_units(
    source: str, url: str, lines: list[bytes], rows_per_shard: int
) -> Iterator[Unit]:
    """Cut a listing; a unit's version is that of its own images, so others may change."""
    start = 0
    for first in range(0, len(lines), rows_per_shard):
        part = b"".join(lines[first : first + rows_per_shard])
        yield Unit(
            source=source,
            path=url,
            name=posixpath.basename(url),
            version=hashlib.sha256(part).hexdigest(),
            start=start,
            end=start + len(part),
            first_row=first,
            rows=len(lines[first : first + rows_per_shard]),
        )
        start += len(part)


def _file_info(fs: Any, path: str) -> dict[str, Any] | None:
    """Return the `info` of a regular file, None if there is none of that name."""
    try:
        info = fs.info(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        return None
    return info if info["type"] == "file" else None
