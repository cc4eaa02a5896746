"""The reader of folders: images with texts beside them, read in place."""

import hashlib
import json
import os.path
import posixpath
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from pipelines.runtime.sidecar import Reject
from pipelines.sources.files import info_of, versions
from pipelines.sources.folders.listing import (
    Listing,
    list_folder,
    listing_units,
    require_folder,
)
from pipelines.sources.keys import SeenKeys
from pipelines.sources.known_images import KnownImages
from pipelines.sources.links import Fault, link_fault, pointer_fault, read_file
from pipelines.sources.listing import (
    MAX_TEXT_BYTES,
    Listed,
    SourcePlan,
    Unit,
    is_storable,
    storable,
    with_texts,
)
from pipelines.sources.lists.files import plan_lists, read_list, read_rows
from pipelines.sources.raw_shard import ImageStore, wanted_images, wrong_size
from schemas.source_config import FolderSource
from schemas.store.retries import open_fs
from schemas.store.storage import Storage

# Images read in parallel, for file systems with a long latency; all of them are in memory.
READ_THREADS = 8


class _Hashed(NamedTuple):
    """An image of a folder."""

    length: int  # bytes
    sha256: str
    known: tuple[str, str] | None  # reason and detail, if it is a known one


@dataclass(frozen=True)
class FolderReader:
    """Reads the images of a folder; bytes are referenced, not copied.

    Without a list, the planning process lists the folder; that takes a few hundred bytes of memory
    per file. Paths must not leave the folder by `..`; the recipe decides about links.
    """

    source: FolderSource
    max_bytes: int  # of an image

    def version(self) -> str:
        """Return the versions of the lists, or of every image and text of the folder."""
        if self.source.list:
            source = self.source
            require_folder(source.path)  # else every row would fail, one by one
            return f"{versions(source.list, source.links)}\n{sorted(source.columns.explicit())}"
        return f"{self._listing.digest()}\n{sorted(self.source.columns.explicit())}"

    def plan(self, rows_per_shard: int, store: Storage) -> SourcePlan:
        """Cut the source's list into units; without one, list the folder first."""
        source = self.source
        if source.list:
            return plan_lists(source, source.list, rows_per_shard, store)
        listing = self._listing
        self._require_keys(listing)
        path = f"sources/listing-{source.name}.jsonl"
        store.commit_bytes(path, b"".join(listing.lines))
        url = store.fs.unstrip_protocol(store.locate(path)[1])
        units = list(listing_units(source.name, url, listing.lines, rows_per_shard))
        return SourcePlan(units=units, passed_over=listing.passed_over, files=[path])

    def rows(self, unit: Unit) -> Iterator[Listed | Reject]:
        """List the images; a path that leaves the folder gives a dead letter."""
        if not self.source.list:
            for _, row in read_rows(unit, self.source.columns):
                yield row if isinstance(row, Reject) else self._with_texts_beside(row)
            return
        for row in read_list(unit, self.source):
            yield row if isinstance(row, Reject) else self._checked(row)

    def acquire(self, unit: Unit, rows: pa.Table, raw: ImageStore) -> None:
        """Hash each image in its place."""
        fs, root = self._folder
        wanted = wanted_images(rows)
        keys, places = [each.id for each in wanted], [each.place for each in wanted]
        with ThreadPoolExecutor(READ_THREADS) as threads:
            found = threads.map(partial(self._hash, raw.known), keys, places)
            for key, place, result in zip(keys, places, found, strict=True):
                path = posixpath.join(root, place)
                if isinstance(result, Fault):
                    raw.reject(key, result.reason, storable(f"{path}: {result.what}"))
                elif why := wrong_size(result.length, self.max_bytes, path):
                    raw.reject(key, *why)
                elif result.known:
                    raw.reject(key, *result.known, dropped=True)
                else:
                    raw.refer(key, fs.unstrip_protocol(path), 0, result.length, result.sha256)

    @cached_property
    def _folder(self) -> tuple[Any, str]:
        return open_fs(self.source.path)

    @cached_property
    def _real_root(self) -> str:
        return os.path.realpath(self._folder[1])

    @cached_property
    def _listing(self) -> Listing:
        """The listing of the folder, made once because it is slow."""
        return list_folder(self.source.path, self.source.links)

    def _require_keys(self, listing: Listing) -> None:
        keys = SeenKeys(self.source.name, self.source.columns, url=False)
        for line in listing.lines:
            if not keys.is_wanting and keys.has_texts:
                return
            texts = json.loads(line)["texts"]
            keys.has_texts |= bool(texts)  # whether or not they can be read
            found = {text: self.read(text, MAX_TEXT_BYTES) for text in texts}
            keys.look((text, of[1]) for text, of in found.items() if not isinstance(of, Fault))
        keys.require()

    def _hash(self, known: KnownImages, key: str, path: str) -> _Hashed | Fault:
        """Read an image, and look for it among known ones."""
        found = self.read(path, self.max_bytes)
        if isinstance(found, Fault):
            return found
        length, body = found
        if fault := pointer_fault(body):
            return fault
        verdict = known.find(key, body) if length == len(body) else None
        return _Hashed(length, hashlib.sha256(body).hexdigest(), verdict)

    def read(self, path: str, most_bytes: int) -> tuple[int, bytes] | Fault:
        """Return the size of a file of the folder, and up to one byte more than `most_bytes`."""
        fs, root = self._folder
        if isinstance(fs, LocalFileSystem):
            return read_file(self._real_root, path, most_bytes, self.source.links)
        full = posixpath.join(root, path)
        info = info_of(fs, full)
        if info is None or info["type"] != "file":
            return Fault("missing_file", "no such file")
        end = min(info["size"], most_bytes + 1)
        return info["size"], fs.cat_file(full, start=0, end=end) if end else b""

    def _checked(self, row: Listed) -> Listed | Reject:
        for url in (row.url, *(image.url for image in row.images)):
            if not url:
                return Reject(id=row.id, reason="missing_path", detail="the row names no image")
            if fault := self._fault(url):
                detail = f"{url!r}: {storable(fault.what)}"
                return Reject(id=row.id, reason=fault.reason, detail=detail)
        images = tuple(replace(image, place=_place(image.url)) for image in row.images)
        return replace(row, place=_place(row.url), images=images)

    def _fault(self, path: str) -> Fault | None:
        """Return the reason why a listed path must not be read, or None."""
        if fault := _name_fault(path):
            return fault
        if posixpath.isabs(path) or posixpath.normpath(path).split("/")[0] == "..":
            return Fault("bad_path", "leaves the folder; expected a path below it")
        if isinstance(self._folder[0], LocalFileSystem):
            return link_fault(self._real_root, _place(path), self.source.links)
        return None

    def _with_texts_beside(self, row: dict[str, Any]) -> Listed | Reject:
        name = row["path"]
        listed = Listed(id=storable(name), url=name, place=name)
        fault = Fault(*row["fault"]) if "fault" in row else _name_fault(name)
        texts: list[tuple[str, bytes]] = []
        for text in row["texts"]:
            found = fault or self.read(text, MAX_TEXT_BYTES)
            if isinstance(found, Fault):
                base = posixpath.basename(text)
                fault = fault or Fault(found.reason, f"{base}: {found.what}")
            else:
                texts.append((posixpath.basename(text), found[1]))
        if fault:
            return Reject(id=listed.id, reason=fault.reason, detail=storable(fault.what))
        return with_texts(listed, texts, self.source.columns, text=self.source.text)


def _place(path: str) -> str:
    """Return a listed path without `..`: the folder before it need not be there."""
    return posixpath.normpath(path) if ".." in path.split("/") else path


def _name_fault(path: str) -> Fault | None:
    """Return the reason why no file with this name can be read, or None."""
    if not is_storable(path) or "\0" in path:
        return Fault("bad_path", "not a name that UTF-8 can hold")
    if "::" in path or "://" in path:
        return Fault("bad_path", "would be read as a URL")
    return None
