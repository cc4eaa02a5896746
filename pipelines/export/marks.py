"""Marks of the shards that are exported, so that a killed export resumes.

.export/format.json        the name of the format
.export/edit-000000.json   fingerprint, counts and files of one shard, written after its files
"""

import json
import posixpath
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import PurePosixPath

from pydantic import TypeAdapter, ValidationError

from model.data.manifest import DataError
from pipelines.export.format import Exported
from schemas.store.storage import HARMLESS, Storage
from schemas.store.whole_file import is_temporary

FOLDER = ".export"
FORMAT = f"{FOLDER}/format.json"

_EXPORTED = TypeAdapter(Exported)


def check_folder(to: Storage, format_: str) -> None:
    """Check that a folder is empty, missing, or an export in the same format.

    Raises:
        DataError: it holds anything else.
    """
    found = [name for name in to.entries() if name not in HARMLESS and not is_temporary(name)]
    if not found:
        return
    try:
        other = json.loads(to.read(FORMAT))
    except FileNotFoundError:
        shown = ", ".join(found[:6])
        raise DataError(
            f"{to.root}: holds files that no export wrote: {shown}; give --to an empty folder"
        ) from None
    except ValueError as error:
        raise DataError(f"{to.root}/{FORMAT}: damaged: {error}; empty the folder") from error
    if other != format_:
        raise DataError(
            f"{to.root}: holds an export as {other!r}, not {format_!r}; give --to another folder"
        )


def _is_inside(path: str) -> bool:
    """Return whether a path stays below the folder that it is relative to.

    >>> [_is_inside(path) for path in ("t2i/a.json", "../a", "/a", "file:///a")]
    [True, False, False, False]
    """
    return not path.startswith("/") and "://" not in path and ".." not in path.split("/")


class Marks:
    """The marks of a folder.

    Args:
        to: the folder.
    """

    def __init__(self, to: Storage) -> None:
        self._to = to
        self._sizes = lru_cache(maxsize=4)(self._list)  # of a few folders: one may be large

    def claim(self, format_: str) -> None:
        """Write down the format of the folder."""
        self._to.commit_bytes(FORMAT, f"{json.dumps(format_)}\n".encode())

    def all(self) -> dict[str, Exported]:
        """Return the marks by the name of their shards; damaged ones are left out."""
        names = self._to.listing(FOLDER).keys() - {PurePosixPath(FORMAT).name}
        found = ((PurePosixPath(name).stem, self._read(name)) for name in sorted(names))
        return {name: mark for name, mark in found if mark is not None}

    def _read(self, name: str) -> Exported | None:
        try:
            found = _EXPORTED.validate_json(self._to.read(f"{FOLDER}/{name}"))
        except (FileNotFoundError, ValidationError):
            return None  # the shard is exported again
        # The files of a mark may be removed, so they must lie in the folder.
        return found if all(map(_is_inside, found.files)) else None

    def write(self, name: str, exported: Exported) -> None:
        """Mark a shard as exported."""
        text = json.dumps(asdict(exported), indent=1, ensure_ascii=False)
        self._to.commit_bytes(f"{FOLDER}/{name}.json", f"{text}\n".encode())

    def forget(self, name: str, exported: Exported) -> None:
        """Remove the files of a shard, and then its mark."""
        for path in exported.files:
            self._to.remove(path)
        self._to.remove(f"{FOLDER}/{name}.json")

    def is_whole(self, exported: Exported) -> bool:
        """Return whether all files of a shard are there, with the sizes that they were given."""
        return all(
            self._sizes(posixpath.dirname(path)).get(posixpath.basename(path)) == size
            for path, size in exported.files.items()
        )

    def _list(self, folder: str) -> Mapping[str, int]:
        fs, full = self._to.locate(folder)
        try:
            found = fs.ls(full, detail=True)
        except FileNotFoundError:
            return {}
        return {posixpath.basename(info["name"]): info["size"] for info in found}
