"""A corpus of which only regular files are opened: no pipe is waited for, no link is followed."""

import os
import stat
from collections.abc import Iterator
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from schemas.store.errors import CorpusError
from schemas.store.storage import Storage

_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


class RegularStorage(Storage):
    """Files of a corpus, or that its rows refer to, each looked at before it is opened.

    Below the root no link is followed. Elsewhere links are, to regular files: a source may be
    made of them.
    """

    def __reduce__(self) -> tuple[type["RegularStorage"], tuple[str]]:
        return RegularStorage, (self.root,)

    def locate(self, path: str) -> tuple[Any, str]:
        """Return the file system and the full path of a file or folder, or of nothing.

        Raises:
            CorpusError: if it is anything else, or outside of the corpus by a relative path.
        """
        ours = "://" not in path and not os.path.isabs(path)
        parts = path.split("/")
        if ours and ".." in parts:
            raise CorpusError(f"{path}: leads out of the corpus")
        fs, full = super().locate(path)
        if isinstance(fs, LocalFileSystem):
            ways = [full]
            if ours:  # each folder on the way may be a link
                root = super().locate("")[1].rstrip("/")
                ways = [f"{root}/{'/'.join(parts[: n + 1])}" for n in range(len(parts))]
            for way in ways:
                if kind := _odd_kind(way, follow=not ours):
                    raise CorpusError(f"{path}: is {kind}, expected a regular file")
        return fs, full

    def lies_there(self, path: str) -> bool:
        """Whether anything at all has this name below the root."""
        fs, full = super().locate(path)
        return os.path.lexists(full) if isinstance(fs, LocalFileSystem) else fs.exists(full)

    def everything(self) -> Iterator[tuple[str, str, int]]:
        """Yield what lies below the root: its path, '' or what it is if no regular file, its size.

        Folders are gone into, and named where they are empty; where the store has none, all are
        regular files.
        """
        if self.is_local:
            yield from _walk(super().locate("")[1].rstrip("/"))
            return
        fs, root = super().locate("")
        root = root.rstrip("/")
        for name, info in fs.find(root, detail=True).items():
            yield name.removeprefix(root).lstrip("/"), "", info["size"]


def _walk(root: str) -> Iterator[tuple[str, str, int]]:
    waiting = [""]
    while waiting:
        below = waiting.pop()
        with os.scandir(f"{root}/{below}") as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        if below and not found:
            yield below, _KINDS[stat.S_IFDIR], 0
        for entry in found:
            path = f"{below}/{entry.name}".lstrip("/")
            if entry.is_dir(follow_symlinks=False):
                waiting.append(path)
            else:
                status = entry.stat(follow_symlinks=False)
                yield path, _kind(status.st_mode), status.st_size


def _odd_kind(full: str, *, follow: bool) -> str:
    """Say what lies at a path if it is neither a regular file, a folder nor nothing."""
    try:
        mode = os.stat(full, follow_symlinks=follow).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return "" if stat.S_ISDIR(mode) else _kind(mode)


def _kind(mode: int) -> str:
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "no file")
