"""Storage that opens only regular files of a corpus: no pipes, no links."""

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
    """Files of a corpus, or referenced by its rows, each checked before it is opened.

    Links below the root are not followed. Elsewhere links to regular files are followed, because a
    source may consist of links.
    """

    def __reduce__(self) -> tuple[type["RegularStorage"], tuple[str]]:
        return RegularStorage, (self.root,)

    def locate(self, path: str) -> tuple[Any, str]:
        """Return the file system and full path of a file or folder, which may be missing.

        Raises:
            CorpusError: it is anything else, or a relative path leaves the corpus.
        """
        ours = "://" not in path and not os.path.isabs(path)
        parts = path.split("/")
        if ours and ".." in parts:
            raise CorpusError(f"{path}: leads out of the corpus")
        fs, full = super().locate(path)
        if isinstance(fs, LocalFileSystem):
            ways = [full]
            if ours:  # each folder of the path may be a link
                root = super().locate("")[1].rstrip("/")
                ways = [f"{root}/{'/'.join(parts[: n + 1])}" for n in range(len(parts))]
            for way in ways:
                if kind := _odd_kind(way, follow=not ours):
                    raise CorpusError(f"{path}: is {kind}, expected a regular file")
        return fs, full

    def lies_there(self, path: str) -> bool:
        """Return whether anything with this name exists below the root."""
        fs, full = super().locate(path)
        return os.path.lexists(full) if isinstance(fs, LocalFileSystem) else fs.exists(full)

    def everything(self) -> Iterator[tuple[str, str, int]]:
        """Yield (path, kind, size) of everything below the root; the kind of a regular file is ''.

        Of folders only the empty ones are listed; an object store has only regular files.
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
    """Return the kind of a path that is no regular file or folder; '' if it is, or is missing."""
    try:
        mode = os.stat(full, follow_symlinks=follow).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return "" if stat.S_ISDIR(mode) else _kind(mode)


def _kind(mode: int) -> str:
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "no file")
