"""Compressed files, recognised by their first bytes: suffixes may be wrong, frames many."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import pyarrow as pa

from schemas.store.storage import CorpusError

SUFFIXES = (".gz", ".zst", ".bz2", ".xz")
MAGIC_BYTES = 10
# No list or tar has this ratio: text shrinks by 3 to 30 times. Small files may always unpack to
# ALWAYS_ALLOWED_BYTES.
MAX_RATIO = 300
ALWAYS_ALLOWED_BYTES = 1 << 28


def compression(head: bytes) -> str:
    """Return the compression of a file by its first MAGIC_BYTES; '' if there is none."""
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    # A frame, or a skippable frame, which pzstd writes first.
    if head.startswith(b"\x28\xb5\x2f\xfd") or head[1:4] == b"\x2a\x4d\x18":
        return "zstd"
    if head.startswith(b"BZh") and head[4:10] == b"1AY&SY":
        return "bzip2"
    return "xz" if head.startswith(b"\xfd7zXZ\0") else ""


def without_suffix(name: str) -> str:
    """Return a file name without its compression suffix."""
    suffix = next((s for s in SUFFIXES if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)]


class CompressedDataError(CorpusError):
    """Compressed data that is damaged; not an error of the file system."""


@contextmanager
def decompressed(file: BinaryIO, url: str, size: int) -> Iterator[BinaryIO]:
    """Open a compressed file for reading once from its start, in bounded memory.

    Reading raises CompressedDataError if the file is damaged or cut short, or unpacks to far more
    than a list can.

    Args:
        file: at its start.
        url: for messages.
        size: of the file, in bytes.
    """
    head = file.read(MAGIC_BYTES)
    file.seek(0)
    kind = compression(head)
    openers: dict[str, Any] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open, "": _as_is}
    # Python has Zstandard from 3.14 on; Arrow reads all frames and notices a missing end.
    opener = openers.get(kind, _arrow_zstd)
    with opener(file) as stream:
        yield cast(
            BinaryIO, _Bounded(stream, url, kind, max(ALWAYS_ALLOWED_BYTES, MAX_RATIO * size))
        )


@contextmanager
def _as_is(file: BinaryIO) -> Iterator[BinaryIO]:
    yield file


def _arrow_zstd(file: Any) -> Any:
    return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")


class _Bounded:
    """A stream with a size limit, and errors in one line."""

    def __init__(self, stream: Any, url: str, kind: str, left: int) -> None:
        self.stream, self.url, self.kind, self.left = stream, url, kind, left

    def read(self, length: int) -> bytes:
        try:
            data = self.stream.read(length)
        except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
            if getattr(error, "errno", None) is not None:  # an error of the store
                raise
            what = f"damaged or cut short {self.kind} ({error}); fetch it again"
            raise CompressedDataError(f"{self.url}: {what}") from error
        if not self.kind:
            return data
        self.left -= len(data)
        if self.left < 0:
            raise CompressedDataError(
                f"{self.url}: unpacks to over {MAX_RATIO} times its bytes, as no list or tar does; "
                "unpack it yourself if that is right"
            )
        return data
