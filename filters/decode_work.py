"""Limits on the work of a decoder, counted before it starts, so independent of time.

A small file may take minutes: a progressive JPEG with thousands of empty scans visits all its
pixels for each scan, and a PNG may have thousands of chunks that each inflate to a megabyte. The
counts are the same on every machine, so a corpus does not depend on the speed of its workers. The
limits allow a few seconds of one core; a time limit is the last resort
(`pipelines.runtime.decode_clock`).
"""

import struct
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from PIL import Image

from filters.jpeg_scans import scan_count, segments
from filters.tag_work import excess_in_heif, excess_of_tags

# Encoders write about ten scans. An empty scan takes 0.05 to 0.7 ns per pixel, a full one 3 ns, but
# a full scan needs bytes. An image of 100 megapixels may have 50 scans.
MAX_SCANS = 500
MAX_SCANNED_PIXELS = 5_000_000_000
MAX_JPEG_SEGMENTS = 10_000  # before the first scan; each costs a Python iteration
MAX_PNG_CHUNKS = 100_000
MAX_PNG_INFLATED = 1_000  # chunks of text and profiles, each of up to a megabyte inflated
MAX_GIF_BLOCKS = 10_000  # before the first image
MAX_GIF_COMMENT_BYTES = 1_000_000  # Pillow copies the whole comment for each further block
MAX_TIFF_BYTES = 5_000_000_000  # read by strips or tiles, which may overlap

_TILE_SIDES, _OFFSETS = (322, 323), (324, 273)
_BYTE_COUNTS = (325, 279)
_TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"MM*\0", b"II\0*")  # as in Pillow
_JPEG_IN_TIFF = (6, 7)
_SCANS_OF_A_TILE = 100  # libtiff's own limit


def excess_in_bytes(data: bytes) -> str:
    """Return the reason why a file is too much work to open, or ''."""
    for mark, look in _LOOKS.items():
        if data.startswith(mark):
            return look(data)
    if data[4:8] == b"ftyp":
        return excess_in_heif(data)
    return ""


def excess_in_image(data: bytes, image: Image.Image) -> str:
    """Return the reason why an open image is too much work to decode, or ''."""
    width, height = image.size
    if data.startswith(b"\xff\xd8\xff"):
        return _excess_of_scans(data, width * height)
    tags: Any = getattr(image, "tag_v2", None)
    return "" if tags is None else _excess_of_tiles(data, width, height, tags)


def _excess_of_scans(data: bytes, pixels: int) -> str:
    allowed = min(MAX_SCANS, MAX_SCANNED_PIXELS // pixels)
    if data.count(b"\xff\xda") <= allowed:  # thumbnails may have some of them
        return ""
    scans = scan_count(data)
    if scans <= allowed:
        return ""
    return f"{scans:,} scans of {pixels:,} pixels, at most {allowed:,} are decoded"


def _excess_of_tiles(data: bytes, width: int, height: int, tags: Mapping[int, Any]) -> str:
    across, down = (_integer(tags.get(tag)) for tag in _TILE_SIDES)
    pixels = width * height
    if across > 0 and down > 0:
        pixels = -(-width // across) * across * -(-height // down) * down
    if _integer(tags.get(259)) in _JPEG_IN_TIFF:
        different = len(set(_integers(tags, _OFFSETS))) or 1
        # All scans beyond one per tile may belong to one tile, which others repeat.
        pixels *= max(1, min(_SCANS_OF_A_TILE, data.count(b"\xff\xda") - different + 1))
    if pixels > MAX_SCANNED_PIXELS:
        return f"tiles of {pixels:,} pixels, at most {MAX_SCANNED_PIXELS:,} are decoded"
    read = sum(_integers(tags, _BYTE_COUNTS))
    if read > MAX_TIFF_BYTES:
        return f"strips of {read:,} bytes, at most {MAX_TIFF_BYTES:,} are decoded"
    return ""


def _integers(tags: Mapping[int, Any], either: tuple[int, int]) -> list[int]:
    """Return the values of the first of two tags that is present."""
    found: Any = next((tags[tag] for tag in either if tag in tags), ())
    values: list[Any] = list(found) if isinstance(found, tuple) else [found]  # pyright: ignore[reportUnknownArgumentType]
    return [_integer(value) for value in values]


def _integer(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _excess_of_segments(data: bytes) -> str:
    before = 0
    for segment in islice(segments(data), MAX_JPEG_SEGMENTS + 1):
        if segment.marker == 0xDA:
            return ""
        before += 1
    over = before > MAX_JPEG_SEGMENTS
    return f"over {MAX_JPEG_SEGMENTS:,} segments before the image" if over else ""


def _excess_of_chunks(data: bytes) -> str:
    at, chunks, inflated = 8, 0, 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        chunks += 1
        inflated += kind in (b"iCCP", b"zTXt", b"iTXt")
        if chunks > MAX_PNG_CHUNKS:
            return f"over {MAX_PNG_CHUNKS:,} chunks"
        if inflated > MAX_PNG_INFLATED:
            return f"over {MAX_PNG_INFLATED:,} chunks of text and profiles"
    return ""


def _excess_of_blocks(data: bytes) -> str:
    """Walk the blocks of a GIF up to its first image."""
    at = 13 + (3 << ((data[10] & 7) + 1) if data[10:11] and data[10] & 0x80 else 0)
    blocks, comment = 0, 0
    while data[at : at + 1] == b"!":
        is_comment = data[at + 1 : at + 2] == b"\xfe"
        blocks += 1
        at += 2
        while length := data[at] if at < len(data) else 0:
            at += 1 + length
            comment += length * is_comment
        at += 1
        if blocks > MAX_GIF_BLOCKS:
            return f"over {MAX_GIF_BLOCKS:,} blocks before the image"
        if comment > MAX_GIF_COMMENT_BYTES:
            return f"over {MAX_GIF_COMMENT_BYTES:,} bytes of comments"
    return ""


_LOOKS: Mapping[bytes, Callable[[bytes], str]] = {
    b"\xff\xd8\xff": _excess_of_segments,
    b"\x89PNG\r\n\x1a\n": _excess_of_chunks,
    b"GIF8": _excess_of_blocks,
    **dict.fromkeys(_TIFFS, excess_of_tags),
}
