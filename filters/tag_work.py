"""Limits on the bytes that the tags of a TIFF or EXIF block refer to, counted before reading.

Many tags may refer to the same bytes, and each is read into memory separately: in a file of 15 MB,
200 such tags take 6 GB. So the sizes of all tags that Pillow reads on opening are summed up first:
in the first directory, and in the EXIF, GPS and interoperability directories below it.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from filters.jpeg_scans import segments

MAX_TAGS = 100_000
SPARE_TAG_BYTES = 1_000_000  # allowed in addition to twice the size of the block

_GROUPS = (34665, 34853, 40965)  # directories of EXIF, GPS and interoperability
_UNITS: Mapping[int, int] = {
    **dict.fromkeys((1, 2, 6, 7), 1),
    **dict.fromkeys((3, 8), 2),
    **dict.fromkeys((4, 9, 11, 13), 4),
    **dict.fromkeys((5, 10, 12, 16, 17, 18), 8),
}
_MOST_DEPTH = 2  # the interoperability directory is below the EXIF directory
_EXIF = b"Exif\0\0"
_BLOCKS = {0xE1: _EXIF, 0xE2: b"MPF\0"}  # of a JPEG, by marker
MAX_BLOCKS = 20  # in an AVIF, of blocks that look like EXIF
_IN_HEIF = re.compile(rb"II[*+]\0|MM\0[*+]|MM\*\0|II\0\*")


def excess_of_tags(tiff: bytes | memoryview) -> str:
    """Return the reason why the tags of a TIFF are too much to read, or ''."""
    allowed = 2 * len(tiff) + SPARE_TAG_BYTES
    read = 0
    for tags, size in enumerate(_sizes(tiff), 1):
        read += size
        if tags > MAX_TAGS:
            return f"over {MAX_TAGS:,} tags"
        if read > allowed:
            return f"tags of over {allowed:,} bytes in {len(tiff):,}"
    return ""


def excess_of_exif(info: Mapping[Any, Any]) -> str:
    """Return the reason why the EXIF block of an open image is too much to read, or ''.

    Args:
        info: Pillow's `info` of the image.
    """
    exif = info.get("exif") or b""
    if not exif and (profile := info.get("Raw profile type exif")):
        exif = bytes.fromhex("".join(profile.split("\n")[3:]))
    while exif.startswith(_EXIF):
        exif = exif[len(_EXIF) :]
    return excess_of_tags(exif)


def excess_in_heif(data: bytes) -> str:
    """Return the reason why an EXIF block of an AVIF is too much to read, or ''.

    Blocks are searched in the whole file, by their first bytes.
    """
    whole = memoryview(data)
    for blocks, found in enumerate(_IN_HEIF.finditer(data)):
        if blocks == MAX_BLOCKS:
            return f"over {MAX_BLOCKS} blocks that look like EXIF"
        if excess := excess_of_tags(whole[found.start() :]):
            return excess
    return ""


def without_excess(jpeg: bytes) -> bytes:
    """Return a JPEG with EXIF and MPF blocks renamed if they are too much to read.

    Pillow reads these blocks when it opens a file and ignores other names. Pixels do not need them.
    """
    if not any(name in jpeg for name in _BLOCKS.values()):
        return jpeg
    found: dict[int, list[tuple[int, bytes]]] = {marker: [] for marker in _BLOCKS}
    for segment in segments(jpeg):
        name = _BLOCKS.get(segment.marker)
        if name and segment.body.startswith(name):
            found[segment.marker].append((segment.start, segment.body[len(name) :]))
    excessive = [
        start
        for blocks in found.values()
        if excess_of_tags(b"".join(body for _, body in blocks))
        for start, _ in blocks
    ]
    if not excessive:
        return jpeg
    renamed = bytearray(jpeg)
    for start in excessive:
        renamed[start : start + 3] = b"---"
    return bytes(renamed)


def _sizes(tiff: bytes | memoryview) -> Iterator[int]:
    """Yield the number of bytes that each tag reads; 0 for bytes outside the TIFF."""
    order = "<" if tiff[:2] == b"II" else ">"
    big = tiff[2:3] == b"\x2b"
    entry = struct.Struct(f"{order}HHQQ" if big else f"{order}HHLL")
    count, place = (f"{order}Q", f"{order}Q") if big else (f"{order}H", f"{order}L")
    todo = [(_number(tiff, place, 8 if big else 4), 0)]
    while todo:
        at, depth = todo.pop()
        entries = _number(tiff, count, at)
        at += struct.calcsize(count)
        for _ in range(min(entries, max(0, len(tiff) - at) // entry.size)):
            tag, kind, values, offset = entry.unpack_from(tiff, at)
            at += entry.size
            size = values * _UNITS.get(kind, 0)
            inline = size <= struct.calcsize(place)
            yield 0 if inline or offset + size > len(tiff) else size
            if tag in _GROUPS and inline and depth < _MOST_DEPTH:
                todo.append((offset, depth + 1))


def _number(tiff: bytes | memoryview, kind: str, at: int) -> int:
    """Return a number at a place in a TIFF; 0 past its end."""
    return struct.unpack_from(kind, tiff, at)[0] if at + struct.calcsize(kind) <= len(tiff) else 0
