"""Bytes of a tar from beginning to end, unpacked on the way where it is compressed."""

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import zstandard

from pipelines.retries import open_fs

# A compressed tar may unpack to so much, and beyond it to so many times its size: images hardly
# shrink, and a few bytes can unpack to more than any disk holds.
FREE_BYTES = 1_000_000_000
MOST_TIMES = 100
CHUNK_BYTES = 1 << 20
# Of one read: more than any header, and less than what a header may claim.
HEADER_BYTES = 16_000_000
MOST_VAIN = 8  # reads past the end

_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
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
    """A file that holds something else from its first byte on."""


class TarStream:
    """A file read forward, as `tarfile` reads one; a block may be put back."""

    def __init__(self, file: Any, packed: str, most_bytes: int) -> None:
        self.packed = packed  # by what; '' where bytes may be referenced as they lie
        self._file = file
        self._most_bytes = most_bytes  # of one read
        self._at = 0
        self._back = b""
        self._vain = 0  # reads at the end

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes, fewer only at the end.

        Raises:
            tarfile.ReadError: for more than any header or image has, as a damaged one claims.
        """
        if not 0 <= size <= self._most_bytes:
            raise tarfile.ReadError(f"a header that claims {size:,} bytes")
        parts = [self._back[:size]]
        self._back = self._back[size:]
        left = size - len(parts[0])
        while left and (part := self._file.read(left)):
            parts.append(part)
            left -= len(part)
        body = b"".join(parts)
        self._vain = 0 if body or not size else self._vain + 1
        if self._vain > MOST_VAIN:  # where `tarfile` would wait for ever for more
            raise tarfile.ReadError("a header that goes on past the end")
        self._at += len(body)
        return body

    def put_back(self, block: bytes) -> None:
        """Let the next read begin with what was read last."""
        self._back = block + self._back
        self._at -= len(block)

    def seek(self, offset: int) -> None:
        """Go forward to a byte, or to the end where that comes first in a compressed file."""
        if not self.packed:
            self._file.seek(offset)
            self._at, self._back = offset, b""
            return
        if offset < self._at:
            raise tarfile.ReadError(f"a header that leads back to byte {offset:,}")
        while self._at < offset and self.read(min(CHUNK_BYTES, offset - self._at)):
            pass

    def tell(self) -> int:
        """Return the byte that the next read begins with."""
        return self._at


@contextmanager
def open_tar(url: str, most_bytes: int = HEADER_BYTES) -> Iterator[TarStream]:
    """Open a tar, compressed or not: its first bytes tell, not its name.

    Args:
        url: of the file.
        most_bytes: of one read.

    Raises:
        NotATarError: if it is known to be another kind of file.
        tarfile.ReadError: later, if compressed data is damaged.
    """
    fs, path = open_fs(url)
    with fs.open(path, "rb") as file:
        start = file.read(SIGNATURE_BYTES)
        file.seek(0)
        packed = next((name for mark, name in _PACKED.items() if start.startswith(mark)), "")
        if not start:
            raise NotATarError("expected a tar, this is an empty file")
        if what := next((what for mark, what in _OTHERS.items() if start.startswith(mark)), ""):
            raise NotATarError(f"expected a tar, this is {what}")
        stream = _Unpacked(_unpack(file, packed), file, packed) if packed else file
        yield TarStream(stream, packed, most_bytes)


def _unpack(file: Any, packed: str) -> Any:
    if packed == "gzip":
        return gzip.GzipFile(fileobj=file, mode="rb")
    if packed == "bzip2":
        return bz2.BZ2File(file)
    if packed == "xz":
        return lzma.LZMAFile(file)
    # fsspec's own would end with the first frame of several.
    return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)


class _Unpacked:
    """A compressed file read forward; its faults are those of a tar, and it does not swell."""

    def __init__(self, stream: Any, file: Any, name: str) -> None:
        self._stream = stream
        self._file = file
        self._name = name
        self._read_bytes = 0

    def read(self, size: int) -> bytes:
        try:
            body = self._stream.read(size)
        except (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
            raise self._damage(error) from error
        except OSError as error:  # a number means that the store fails, not the data
            if error.errno is not None:
                raise
            raise self._damage(error) from error
        self._read_bytes += len(body)
        if self._read_bytes > FREE_BYTES and self._read_bytes > MOST_TIMES * self._file.tell():
            raise tarfile.ReadError(
                f"{self._name} data that unpacks to over {MOST_TIMES} times its size; "
                "unpack it yourself if it is sound"
            )
        return body

    def _damage(self, error: Exception) -> tarfile.ReadError:
        return tarfile.ReadError(f"damaged or truncated {self._name} data ({error})")
