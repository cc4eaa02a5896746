"""How many bytes the tags of a TIFF or EXIF block ask to be read, counted before they are.

Any number of tags may point at the same bytes, and each is read into memory on its own: 200 tags
of a file of 15 MB take 6 GB. So what Pillow reads when it opens a file is summed up first: the
first directory, and those of EXIF, GPS and interoperability below it.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from filters.jpeg_scans import segments

MAX_TAGS = 100_000
SPARE_TAG_BYTES = 1_000_000  # beyond twice the size of what holds the tags

_GROUPS = (34665, 34853, 40965)  # directories of EXIF, GPS and interoperability
_UNITS: Mapping[int, int] = {
    **dict.fromkeys((1, 2, 6, 7), 1),
    **dict.fromkeys((3, 8), 2),
    **dict.fromkeys((4, 9, 11, 13), 4),
    **dict.fromkeys((5, 10, 12, 16, 17, 18), 8),
}
_MOST_DEPTH = 2  # of the directory of interoperability, below that of EXIF
_EXIF = b"Exif\0\0"
_BLOCKS = {0xE1: _EXIF, 0xE2: b"MPF\0"}  # of a JPEG, by marker
MAX_BLOCKS = 20  # that look like EXIF, in an AVIF
_IN_HEIF = re.compile(rb"II[*+]\0|MM\0[*+]|MM\*\0|II\0\*")


def excess_of_tags(tiff: bytes | memoryview) -> str:
    """Return why the tags of a TIFF are too many or too large to read, or ''."""
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
    """Return why the EXIF block of an open image is too much to read, or ''.

    Args:
        info: of the image, as Pillow has it.
    """
    exif = info.get("exif") or b""
    if not exif and (profile := info.get("Raw profile type exif")):
        exif = bytes.fromhex("".join(profile.split("\n")[3:]))
    while exif.startswith(_EXIF):
        exif = exif[len(_EXIF) :]
    return excess_of_tags(exif)


def excess_in_heif(data: bytes) -> str:
    """Return why what looks like an EXIF block of an AVIF is too much to read, or ''.

    It may lie anywhere in the file.
    """
    whole = memoryview(data)
    for blocks, found in enumerate(_IN_HEIF.finditer(data)):
        if blocks == MAX_BLOCKS:
            return f"over {MAX_BLOCKS} blocks that look like EXIF"
        if excess := excess_of_tags(whole[found.start() :]):
            return excess
    return ""


def without_excess(jpeg: bytes) -> bytes:
    """Return a JPEG whose EXIF and MPF blocks, if too much to read, go by a name nobody reads.

    Pillow reads them before it lets anybody ask; the pixels do not need them.
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
    """Yield the bytes that each tag asks for, those that lie outside the TIFF not."""
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
    """Return a number of a TIFF, 0 where it has ended."""
    return struct.unpack_from(kind, tiff, at)[0] if at + struct.calcsize(kind) <= len(tiff) else 0
