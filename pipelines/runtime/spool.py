"""Bytes on local disk in the order they come, read back by name."""

import tempfile
from collections.abc import Collection, Hashable
from pathlib import Path
from types import TracebackType
from typing import Self


class Spool:
    """Keeps the parts of a shard on disk until all are there; memory holds only their offsets.

    Samples end in another order than they began, and a shard's images or features are too many to
    wait in memory. Its file has no name, so nothing of it stays. `shelve` and sqlite3 do the same
    through a database with pages and a journal.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._places: dict[Hashable, tuple[int, int]] = {}  # name -> offset, length in bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __contains__(self, name: Hashable) -> bool:
        return name in self._places

    @property
    def names(self) -> Collection[Hashable]:
        """The names of what it keeps."""
        return self._places.keys()

    def add(self, name: Hashable, body: bytes) -> None:
        """Keep bytes; the last ones of a name count."""
        self._places[name] = self._file.seek(0, 2), len(body)
        self._file.write(body)

    def read(self, name: Hashable) -> bytes:
        """Return the bytes of a name."""
        offset, length = self._places[name]
        self._file.seek(offset)
        return self._file.read(length)

    def close(self) -> None:
        """Free the disk."""
        self._file.close()
