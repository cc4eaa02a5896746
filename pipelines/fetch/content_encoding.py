"""Decompression of bodies that a server compressed without request (RFC 9110 section 8.4)."""

import zlib
from typing import Literal

import pyarrow as pa

MOST_ENCODINGS = 4  # of one body
_PLAIN = ("", "identity", "none")
_ARROW: dict[str, Literal["brotli", "zstd"]] = {"br": "brotli", "zstd": "zstd"}
_GZIP_MEMBERS = 1_000


class TooLargeError(Exception):
    """The decompressed body is larger than allowed."""


def undone(body: bytes, encodings: list[str], max_bytes: int) -> bytes:
    """Decompress a body; the encodings are in the order in which they were applied.

    Memory needs at most `max_bytes` more than one output, even for a small body.

    Raises:
        TooLargeError: an encoding gives more than `max_bytes` bytes.
        ValueError: an encoding is unknown, or the body does not have it, or ends early.
    """
    names = [name for name in encodings if name not in _PLAIN]
    if len(names) > MOST_ENCODINGS:
        raise ValueError(f"{len(names)} encodings, over {MOST_ENCODINGS}")
    for name in reversed(names):
        body = _undone(body, name, max_bytes)
        if len(body) > max_bytes:
            raise TooLargeError(f"over {max_bytes:,} bytes once {name} is undone")
    return body


def named_encodings(headers: list[str]) -> list[str]:
    """Return the encodings of Content-Encoding headers, in lower case.

    >>> named_encodings(["GZIP, br", "identity"])
    ['gzip', 'br', 'identity']
    """
    return [name.strip().lower() for header in headers for name in header.split(",")]


def _undone(body: bytes, name: str, max_bytes: int) -> bytes:
    try:
        if name in ("gzip", "x-gzip"):
            return _gunzipped(body, max_bytes)
        if name == "deflate":
            return _inflated(body, max_bytes)
        if name in _ARROW:
            with pa.CompressedInputStream(pa.BufferReader(body), _ARROW[name]) as stream:
                return stream.read(max_bytes + 1)
    except (zlib.error, OSError) as error:
        raise ValueError(f"it is not in content encoding {name!r}: {error}") from error
    raise ValueError(f"content encoding {name!r} is not known")


def _gunzipped(body: bytes, max_bytes: int) -> bytes:
    """Decompress one or more gzip members; data after the last is ignored, as in browsers."""
    found = b""
    for _ in range(_GZIP_MEMBERS):
        decoder = zlib.decompressobj(wbits=31)
        found += decoder.decompress(body, max_bytes + 1 - len(found))
        if len(found) > max_bytes:
            return found
        if not decoder.eof:
            raise zlib.error("it ends early")
        body = decoder.unused_data
        if body[:2] != b"\x1f\x8b":
            break
    return found


def _inflated(body: bytes, max_bytes: int) -> bytes:
    """Decompress zlib's format, the standard of `deflate`, or raw deflate, as some servers send."""
    try:
        return _decompressed(body, 15, max_bytes)
    except zlib.error:
        return _decompressed(body, -15, max_bytes)


def _decompressed(body: bytes, wbits: int, max_bytes: int) -> bytes:
    decoder = zlib.decompressobj(wbits=wbits)
    found = decoder.decompress(body, max_bytes + 1)
    if len(found) <= max_bytes and not decoder.eof:
        raise zlib.error("it ends early")
    return found
