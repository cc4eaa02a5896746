"""A strict reader of tars that `pipelines.shards.tar_writer` writes, in one pass; others fail.

A header has a name and a size; its other fields are fixed. Each header is made again from the two
and compared, so no two readers of tars can read a file differently.
"""

import hashlib
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from pipelines.shards.tar_writer import member_header
from schemas.store.errors import CorpusError

BLOCK = tarfile.BLOCKSIZE
CHUNK_BYTES = 1 << 24


class TarMember(NamedTuple):
    """A member of a tar, and the offset of its data."""

    name: str
    offset: int  # bytes from the start of the tar
    data: bytes


class StrictTar:
    """A tar that is read once; size and sha256 are complete after `members` or `read_on` ends."""

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._digest = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        """Return the sha256 of the bytes that were read."""
        return self._digest.hexdigest()

    def members(self) -> Iterator[TarMember]:
        """Yield the members in order.

        Raises:
            CorpusError: the file differs from what the writer writes.
        """
        while True:
            header = self._read(BLOCK)
            if header == bytes(BLOCK):
                break
            name, size = self._parse_header(header)
            offset = self.bytes
            data = self._read(size)
            if any(self._read(-size % BLOCK)):
                raise CorpusError(f"bytes after {name!r} that belong to no member")
            yield TarMember(name, offset, data)
        left = -self.bytes % tarfile.RECORDSIZE
        # At least two zero blocks mark the end.
        if any(self._read(left or tarfile.RECORDSIZE)):
            raise CorpusError("bytes after the mark of its end")
        if self._file.read(1):
            raise CorpusError("bytes after its end")

    def read_on(self) -> None:
        """Read to the end of the file, for its size and sha256, without parsing."""
        while chunk := self._file.read(CHUNK_BYTES):
            self._digest.update(chunk)
            self.bytes += len(chunk)

    def _parse_header(self, header: bytes) -> tuple[str, int]:
        at = self.bytes - BLOCK
        try:
            name = header[:100].rstrip(b"\0").decode("ascii")
            size = int(header[124:135], 8)
            sound = 0 <= size <= self._max_bytes and header == member_header(name, size)
        except ValueError:
            sound, name, size = False, "", 0
        if not sound:
            raise CorpusError(f"at byte {at:,}: not a tar header that the build writes")
        return name, size

    def _read(self, length: int) -> bytes:
        data = self._file.read(length) if length else b""
        self._digest.update(data)
        self.bytes += len(data)
        if len(data) < length:
            raise CorpusError(f"cut short: it ends at byte {self.bytes:,}")
        return data
