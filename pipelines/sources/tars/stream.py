"""A stream of a tar's bytes, decompressed if necessary."""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipelines.sources.compressed import CompressedDataError, compression, decompressed
from schemas.store.retries import open_fs

CHUNK_BYTES = 1 << 20
# Limit of one read: more than any valid header, less than a damaged header may claim.
HEADER_BYTES = 16_000_000
MOST_VAIN = 8  # reads after the end

_OTHERS = {
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "a zip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a rar archive",
    b"\x1f\x9d": "compressed by compress (.Z)",
    b"\x04\x22\x4d\x18": "compressed by lz4",
    b"LZIP": "compressed by lzip",
    b"PAR1": "a Parquet file",
    b"version https://git-lfs": "a pointer of Git LFS, not its file; fetch it by git lfs pull",
    b"<": "markup, such as the page of a server",
    b"{": "JSON",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
}
SIGNATURE_BYTES = 32


class NotATarError(tarfile.ReadError):
    """A file that is no tar from its first byte on."""


class TarStream:
    """A file for `tarfile` that is read forward; a block may be put back."""

    def __init__(self, file: Any, url: str, packed: str, most_bytes: int) -> None:
        self.url = url
        self.packed = packed  # compression; '' if bytes can be referenced in place
        self._file = file
        self._most_bytes = most_bytes  # of one read
        self._at = 0
        self._back = b""
        self._vain = 0  # reads at the end
        self._size = 0 if packed else file.seek(0, 2)
        if not packed:
            file.seek(0)

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes, fewer only at the end.

        Raises:
            tarfile.ReadError: `size` is over the limit, as a damaged header may claim.
        """
        if not 0 <= size <= self._most_bytes:
            raise tarfile.ReadError(f"a header that claims {size:,} bytes")
        return self._take(size)

    def _take(self, size: int) -> bytes:
        parts = [self._back[:size]]
        self._back = self._back[size:]
        left = size - len(parts[0])
        while left and (part := self._unpacked(left)):
            parts.append(part)
            left -= len(part)
        body = b"".join(parts)
        self._vain = 0 if body or not size else self._vain + 1
        if self._vain > MOST_VAIN:  # `tarfile` would read for ever
            raise tarfile.ReadError("a header that goes on past the end")
        self._at += len(body)
        return body

    def _unpacked(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except CompressedDataError as error:
            message = str(error).removeprefix(f"{self.url}: ")  # the dead letter names the file
            raise tarfile.ReadError(message) from error

    def put_back(self, block: bytes) -> None:
        """Put back the last block, so that the next read begins with it."""
        self._back = block + self._back
        self._at -= len(block)

    def seek(self, offset: int) -> None:
        """Go to a byte; in a compressed file only forward, and at most to the end.

        Raises:
            tarfile.ReadError: the byte cannot be reached.
        """
        if not self.packed:
            if offset > self._size:
                raise tarfile.ReadError(
                    f"a member that is cut short: it goes up to byte {offset:,}"
                )
            self._file.seek(offset)
            self._at, self._back = offset, b""
            return
        if offset < self._at:
            raise tarfile.ReadError(f"a header that leads back to byte {offset:,}")
        while self._at < offset and self._take(min(CHUNK_BYTES, offset - self._at)):
            pass

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._at


@contextmanager
def open_tar(url: str, most_bytes: int = HEADER_BYTES) -> Iterator[TarStream]:
    """Open a tar; its first bytes, not its name, decide whether it is compressed.

    Args:
        url: of the file.
        most_bytes: of one read.

    Raises:
        NotATarError: the file is known to be of another kind.
        tarfile.ReadError: later, compressed data is damaged.
    """
    fs, path = open_fs(url)
    with fs.open(path, "rb") as file:
        start = file.read(SIGNATURE_BYTES)
        file.seek(0)
        packed = compression(start)
        if not start:
            raise NotATarError("expected a tar, this is an empty file")
        if what := next((what for mark, what in _OTHERS.items() if start.startswith(mark)), ""):
            raise NotATarError(f"expected a tar, this is {what}")
        if not packed:
            yield TarStream(file, url, packed, most_bytes)
            return
        with decompressed(file, url, fs.size(path)) as unpacked:
            yield TarStream(unpacked, url, packed, most_bytes)
