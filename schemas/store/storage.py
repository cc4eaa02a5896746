"""Storage of a corpus on any fsspec URL; a file with a final name is always complete."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from fsspec.implementations.local import LocalFileSystem

from schemas.store.errors import CorpusError as CorpusError
from schemas.store.retries import open_fs
from schemas.store.whole_file import TEMPORARY_PREFIX, is_temporary, published, temporary_name

# Names in a folder that a command may write into: of operating systems, and a released lock.
HARMLESS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", "lost+found", ".lock"})


def absolute(url: str) -> str:
    """Return an absolute path or URL, for workers with another current folder.

    Raises:
        CorpusError: the path is blank, or names an unknown user.
    """
    if not url.strip():
        raise CorpusError("expected a folder or a URL, got an empty text")
    if "://" in url:
        return url
    path = os.path.expanduser(url)
    if path.startswith("~"):
        raise CorpusError(f"{url}: there is no such user; a folder of that name is ./{url}")
    return os.path.abspath(path)


class Storage:
    """Files below a root URL; paths are relative to it unless they are URLs or absolute.

    Safe to pickle: the file system is opened at its first use.
    """

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/") or "/"

    def __reduce__(self) -> tuple[type["Storage"], tuple[str]]:
        return Storage, (self.root,)

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        return open_fs(self.root)

    @property
    def fs(self) -> Any:
        """The root's fsspec file system."""
        return self._opened[0]

    @property
    def is_local(self) -> bool:
        """Whether the root is a local folder."""
        return isinstance(self.fs, LocalFileSystem)

    def locate(self, path: str) -> tuple[Any, str]:
        """Return the file system and the full path of `path`."""
        if "://" in path or os.path.isabs(path):
            fs, full = open_fs(path)
        else:
            fs, full = self.fs, f"{self._opened[1].rstrip('/')}/{path}"
        # Other processes write here, so a cached listing may have old sizes.
        fs.invalidate_cache()
        return fs, full

    def exists(self, path: str) -> bool:
        """Return whether a file exists now."""
        fs, full = self.locate(path)
        return fs.exists(full)

    def entries(self) -> list[str]:
        """Return the sorted names of files and folders in the root; [] if the root is missing.

        Raises:
            NotADirectoryError: the root is a file.
        """
        fs, full = self.locate("")
        full = full.rstrip("/") or full
        try:
            found = fs.ls(full, detail=True)
        except FileNotFoundError:
            return []
        names = [info["name"].rstrip("/") for info in found]
        if names == [full] and found[0]["type"] == "file" and not found[0]["name"].endswith("/"):
            raise NotADirectoryError(full)
        # An object store may list the marker of the folder itself.
        return sorted(os.path.basename(name) for name in names if name != full.rstrip("/"))

    def listing(self, folder: str) -> dict[str, Any]:
        """Return the version of each file in a folder, by name."""
        fs, full = self.locate(folder)
        try:
            found = fs.ls(full, detail=True)
        except FileNotFoundError:
            return {}
        return {
            os.path.basename(info["name"]): _version(info)
            for info in found
            if info["type"] == "file" and not is_temporary(os.path.basename(info["name"]))
        }

    def read(self, path: str) -> bytes:
        """Read a whole file.

        Raises:
            FileNotFoundError: the file is missing.
        """
        fs, full = self.locate(path)
        return fs.cat_file(full)

    def read_end(self, path: str, length: int) -> bytes:
        """Read the last `length` bytes of a file, or a shorter file whole, in one request.

        Raises:
            FileNotFoundError: the file is missing.
        """
        fs, full = self.locate(path)
        return fs.cat_file(full, start=-length)

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Read (path, offset, length) ranges, in parallel if the file system can.

        Raises:
            CorpusError: a file is missing, or ends before the end of a range.
        """
        places = [self.locate(path) for path, _, _ in ranges]
        found: list[bytes] = [b""] * len(ranges)
        for fs in {id(fs): fs for fs, _ in places}.values():
            here = [number for number, place in enumerate(places) if place[0] is fs]
            wanted = [_Range(places[number][1], *ranges[number][1:]) for number in here]
            for number, body in zip(here, _cat(fs, wanted), strict=True):
                found[number] = body
        return found

    @contextmanager
    def open(self, path: str) -> Iterator[Any]:
        """Open a file for streaming reads."""
        fs, full = self.locate(path)
        with fs.open(full, "rb") as file:
            yield file

    def commit_bytes(self, path: str, data: bytes) -> None:
        """Publish `data` under its final name, atomically."""
        if not self.is_local:
            self.fs.pipe_file(self.locate(path)[1], data)
            return
        with published(self._local(path)) as temporary:
            temporary.write_bytes(data)

    def commit_file(self, path: str, local: Path) -> None:
        """Publish a finished local file under its final name, atomically."""
        if not self.is_local:
            self.fs.put_file(str(local), self.locate(path)[1])
            return
        with published(self._local(path)) as temporary:
            shutil.move(local, temporary)

    def create(self, path: str, data: bytes) -> bool:
        """Publish `data` if the name is free; return whether it was.

        This is atomic on an object store. In a local folder two callers may both get True.
        """
        if self.is_local:
            if self.exists(path):
                return False
            self.commit_bytes(path, data)
            return True
        try:
            self.fs.pipe_file(self.locate(path)[1], data, mode="create")
        except FileExistsError:
            try:
                # True if our request was repeated because the first answer was lost.
                return self.read(path) == data
            except FileNotFoundError:  # removed in the meantime
                return False
        return True

    def remove(self, path: str) -> None:
        """Remove a file, if it exists."""
        fs, full = self.locate(path)
        with suppress(FileNotFoundError):
            fs.rm_file(full)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield a temporary local folder for new files; inside the corpus if that is local.

        Then publishing is a rename, and a full disk is noticed before anything is published.
        """
        if not self.is_local:
            with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as name:
                yield Path(name)
            return
        folder = Path(self._opened[1], temporary_name())
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self, folders: Iterable[str]) -> None:
        """Remove unfinished files of a killed local command; only for the holder of the lock.

        It searches only the folders that the command writes, so another corpus inside this one is
        not touched.
        """
        for left in self.leftovers(folders):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)

    def leftovers(self, folders: Iterable[str]) -> list[Path]:
        """Return the unfinished files and folders of killed or running local commands.

        Args:
            folders: folders to search; '' is the root.
        """
        if not self.is_local:
            return []
        found: list[Path] = []
        for written in folders:
            places = f"{written}/{TEMPORARY_PREFIX}*".lstrip("/")
            found += sorted(Path(self._opened[1]).glob(places))
        return [path for path in found if is_temporary(path.name) and not path.is_symlink()]

    def _local(self, path: str) -> Path:
        """Return the path of a file to write, and create its folder."""
        full = Path(self.locate(path)[1])
        full.parent.mkdir(parents=True, exist_ok=True)
        return full


def _version(info: dict[str, Any]) -> Any:
    for name in ("etag", "ETag", "md5Hash", "mtime", "created", "LastModified"):
        if info.get(name):
            return info["size"], str(info[name]), info.get("ino", 0)
    return info["size"]


class _Range(NamedTuple):
    path: str
    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length


def _cat(fs: Any, wanted: Sequence[_Range]) -> list[bytes]:
    paths, starts = [part.path for part in wanted], [part.offset for part in wanted]
    # Some releases of fsspec always return errors among the bodies.
    bodies = fs.cat_ranges(paths, starts, [part.end for part in wanted], on_error="return")
    return [_whole(fs, part, body) for part, body in zip(wanted, bodies, strict=True)]


def _whole(fs: Any, wanted: _Range, body: bytes | Exception) -> bytes:
    """Return the body of a range, if it is complete."""
    if isinstance(body, FileNotFoundError):
        raise CorpusError(
            f"{wanted.path}: a file that was referenced is gone; put it back, or build again"
        ) from body
    # Every object store has its own error for a range past the end.
    if isinstance(body, Exception) and fs.size(wanted.path) >= wanted.end:
        body = fs.cat_file(wanted.path, start=wanted.offset, end=wanted.end)
    if isinstance(body, Exception) or len(body) < wanted.length:
        end = f"byte {wanted.end:,}"
        raise CorpusError(f"{wanted.path}: ends before {end}; it was cut short after it was made")
    return body
