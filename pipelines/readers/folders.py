"""Folders of images with their texts: generated images and their prompts, read in place."""

import hashlib
import json
import os.path
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from pipelines.raw_shard import RawShard
from pipelines.readers.listing import Listed, Unit, listed_from
from pipelines.readers.lists import plan_lists, read_list
from pipelines.sidecar import Reject, column
from pipelines.storage import CorpusError, Storage
from schemas.recipe import Columns, FolderSource

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
MAX_TEXT_BYTES = 1_000_000  # of a text file beside an image


@dataclass(frozen=True, slots=True)
class FolderReader:
    """Images of a folder; bytes are referenced, not copied."""

    source: FolderSource
    max_bytes: int  # of an image

    def plan(self, rows_per_shard: int, store: Storage) -> list[Unit]:
        """Cut the source's list into units; without one, list the folder first."""
        path = self.source.list or self._write_listing(store)
        units = plan_lists(self.source.name, path, rows_per_shard)
        if self.source.list:
            return units
        version = hashlib.sha256(store.read(self._listing)).hexdigest()
        return [replace(unit, version=version) for unit in units]

    def rows(self, unit: Unit) -> Iterator[Listed | Reject]:
        """List the images; a path out of the folder is a dead letter."""
        columns = self.source.columns if self.source.list else Columns(url="path", title="beside")
        for row in read_list(unit, columns):
            yield row if isinstance(row, Reject) else self._checked(row)

    def acquire(self, unit: Unit, rows: pa.Table, raw: RawShard) -> None:
        """Hash each image where it lies."""
        fs, root = fsspec.core.url_to_fs(self.source.path)
        for key, place in zip(column(rows, "key"), column(rows, "place"), strict=True):
            full = posixpath.join(root, place)
            try:
                size = fs.size(full)
                if size > self.max_bytes:
                    raw.reject(key, "too_large", f"{full}: {size:,} bytes")
                    continue
                digest = hashlib.sha256(fs.cat_file(full)).hexdigest()
            except (FileNotFoundError, IsADirectoryError):
                raw.reject(key, "missing_file", f"{full}: no such file")
                continue
            raw.refer(key, fs.unstrip_protocol(full), 0, size, digest)

    @property
    def _listing(self) -> str:
        return f"sources/listing-{self.source.name}.jsonl"

    def _checked(self, row: Listed) -> Listed | Reject:
        if not row.url:
            return Reject(id=row.id, reason="missing_path", detail="the row names no image")
        if not self._inside(row.url):
            return Reject(id=row.id, reason="bad_path", detail=f"{row.url!r} leaves the folder")
        placed = replace(row, place=row.url)
        return placed if self.source.list else self._with_text_beside(placed)

    def _inside(self, path: str) -> bool:
        fs, root = fsspec.core.url_to_fs(self.source.path)
        if posixpath.isabs(path) or posixpath.normpath(path).startswith(".."):
            return False
        if not isinstance(fs, LocalFileSystem):
            return "://" not in path
        real_root = os.path.realpath(root)
        real = os.path.realpath(os.path.join(root, path))
        return os.path.commonpath([real_root, real]) == real_root

    def _with_text_beside(self, row: Listed) -> Listed | Reject:
        if not row.title:  # the listing's `beside` column
            return row
        fs, root = fsspec.core.url_to_fs(self.source.path)
        text = fs.cat_file(posixpath.join(root, row.title), 0, MAX_TEXT_BYTES)
        if row.title.endswith(".txt"):
            return replace(row, title="", text=text.decode("utf-8", "replace").strip())
        try:
            data: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            return Reject(id=row.id, reason="malformed_text", detail=f"{row.title}: {error}")
        if not isinstance(data, dict):
            return Reject(id=row.id, reason="malformed_text", detail=f"{row.title}: no JSON object")
        read = listed_from(row.id, data, self.source.columns, place=row.place)
        return replace(read, url=row.url)

    def _write_listing(self, store: Storage) -> str:
        fs, root = fsspec.core.url_to_fs(self.source.path)
        if not fs.isdir(root):
            raise CorpusError(f"{self.source.path}: no such folder")
        names = sorted(posixpath.relpath(name, root) for name in fs.find(root))
        present = set(names)
        lines = []
        for name in names:
            stem, suffix = posixpath.splitext(name)
            if suffix.lower() in IMAGE_SUFFIXES:
                texts = [stem + end for end in (".txt", ".json") if stem + end in present]
                lines.append(json.dumps({"path": name, "beside": texts[0] if texts else ""}))
        store.commit_bytes(self._listing, "".join(f"{line}\n" for line in lines).encode())
        return store.fs.unstrip_protocol(store.locate(self._listing)[1])
