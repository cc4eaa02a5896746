"""Where a corpus lies: any fsspec URL, and nothing partial ever under a final name."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

# Written beside local files before they are renamed; a crash may leave one, nothing reads it.
TEMPORARY_PREFIX = ".partial-"


class CorpusError(Exception):
    """What a user can mend: the message says which file, what is wrong, and what to do."""


class Storage:
    """Files below one root URL; paths are relative to it unless they are URLs or absolute.

    Safe to pickle: the file system is opened where it is used.
    """

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/") or "/"

    def __reduce__(self) -> tuple[type["Storage"], tuple[str]]:
        return Storage, (self.root,)

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        return fsspec.core.url_to_fs(self.root)

    @property
    def fs(self) -> Any:
        """The root's fsspec file system."""
        return self._opened[0]

    @property
    def is_local(self) -> bool:
        """Whether the root is a folder of this machine."""
        return isinstance(self.fs, LocalFileSystem)

    def locate(self, path: str) -> tuple[Any, str]:
        """Return the file system and the full path of `path`."""
        if "://" in path or os.path.isabs(path):
            return fsspec.core.url_to_fs(path)
        return self.fs, f"{self._opened[1].rstrip('/')}/{path}"

    def exists(self, path: str) -> bool:
        """Whether a file is there now (listings are not cached)."""
        fs, full = self.locate(path)
        fs.invalidate_cache()
        return fs.exists(full)

    def listing(self, folder: str) -> dict[str, Any]:
        """Map the name of each file in a folder to what tells its versions apart."""
        fs, full = self.locate(folder)
        fs.invalidate_cache()
        try:
            found = fs.ls(full, detail=True)
        except FileNotFoundError:
            return {}
        return {
            os.path.basename(info["name"]): _version(info)
            for info in found
            if info["type"] == "file"
            and not os.path.basename(info["name"]).startswith(TEMPORARY_PREFIX)
        }

    def read(self, path: str) -> bytes:
        """Read a file whole.

        Raises:
            FileNotFoundError: if it is not there.
        """
        fs, full = self.locate(path)
        return fs.cat_file(full)

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Read (path, offset, length) ranges, concurrently where the file system can.

        Raises:
            CorpusError: if a file is missing or shorter than a range asks for.
        """
        found: list[bytes] = [b""] * len(ranges)
        by_fs: dict[int, tuple[Any, list[tuple[int, str, int, int]]]] = {}
        for number, (path, offset, length) in enumerate(ranges):
            fs, full = self.locate(path)
            by_fs.setdefault(id(fs), (fs, []))[1].append((number, full, offset, offset + length))
        for fs, wanted in by_fs.values():
            for number, data in zip([w[0] for w in wanted], _cat(fs, wanted), strict=True):
                found[number] = data
        for (path, offset, length), data in zip(ranges, found, strict=True):
            if len(data) != length:
                end = f"byte {offset + length:,}"
                raise CorpusError(f"{path}: ends before {end}; it was cut short after it was made")
        return found

    @contextmanager
    def open(self, path: str) -> Iterator[Any]:
        """Open a file for streaming reads."""
        fs, full = self.locate(path)
        with fs.open(full, "rb") as file:
            yield file

    def commit_bytes(self, path: str, data: bytes) -> None:
        """Publish `data` under its final name, whole or not at all."""
        if not self.is_local:
            self.fs.pipe_file(self.locate(path)[1], data)
            return
        with self._published(path) as temporary:
            temporary.write_bytes(data)

    def commit_file(self, path: str, local: Path) -> None:
        """Publish a finished local file under its final name, whole or not at all."""
        if not self.is_local:
            self.fs.put_file(str(local), self.locate(path)[1])
            return
        with self._published(path) as temporary:
            shutil.move(local, temporary)

    def remove(self, path: str) -> None:
        """Remove a file if it is there."""
        fs, full = self.locate(path)
        if self.exists(path):
            fs.rm_file(full)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give a local folder to build files in; it lies beside the corpus where that is local.

        So that publishing is a rename, and a full disk is met before anything is published.
        """
        folder = None
        if self.is_local:
            folder = self._opened[1]
            os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=folder) as name:
            yield Path(name)

    def sweep(self) -> None:
        """Remove what a killed local build left behind; only for the holder of the lock."""
        if not self.is_local:
            return
        for left in Path(self._opened[1]).rglob(f"{TEMPORARY_PREFIX}*"):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)

    @contextmanager
    def _published(self, path: str) -> Iterator[Path]:
        """Give a name beside the final one, and rename it to that if the body succeeds."""
        full = self.locate(path)[1]
        folder = os.path.dirname(full)
        os.makedirs(folder, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=folder)
        os.close(handle)
        try:
            yield Path(temporary)
            os.chmod(temporary, 0o644)  # mkstemp makes files private
            os.replace(temporary, full)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _version(info: dict[str, Any]) -> Any:
    for name in ("etag", "ETag", "md5Hash", "mtime", "created", "LastModified"):
        if info.get(name):
            return info["size"], str(info[name]), info.get("ino", 0)
    return info["size"]


def _cat(fs: Any, wanted: list[tuple[int, str, int, int]]) -> list[bytes]:
    _, paths, starts, ends = (list(part) for part in zip(*wanted, strict=True))
    try:
        return fs.cat_ranges(paths, starts, ends, on_error="raise")
    except FileNotFoundError as error:
        raise CorpusError(
            f"{error.filename or error}: a file that was referenced is gone"
        ) from error
