"""The scans of a JPEG by its markers: their number, and whether all of them are present."""

import hashlib
import re
from collections.abc import Iterator
from typing import NamedTuple

# Any marker but stuffed zeros, fill bytes and restarts, which are inside a scan. With \xff+ before
# it would take 20 times as long.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_START, END, SCAN, TABLES = 0xD8, 0xD9, 0xDA, 0xC4
_ALONE = (0x01, _START)  # markers without a body
_PROGRESSIVE = (0xC2, 0xCA)
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {TABLES, 0xC8, 0xCC})
_COEFFICIENTS = 64
_FILLING_BYTES = 4096  # more than a decoder reads ahead
# Bits that differ from the first one on, so that a cut code ends differently with each filling.
_FILLINGS = tuple(
    (start + hashlib.shake_128(start).digest(_FILLING_BYTES)).replace(b"\xff", b"\xfe")
    for start in (b"\x0f", b"\x55", b"\xaa", b"\xf0")
)


class Segment(NamedTuple):
    """One marker and its bytes; for a scan only its header."""

    marker: int
    start: int  # of the body, behind marker and length
    body: bytes


class Mark(NamedTuple):
    """A marker in its place."""

    number: int
    start: int  # behind its fill bytes


def segments(data: bytes) -> Iterator[Segment]:
    """Yield the segments of a JPEG file up to the end mark or a cut segment."""
    at = 2
    while found := _MARKER.search(data, at):
        marker = found[1][0]
        at = found.end()
        if marker == END:
            return
        if marker in _ALONE:
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        if length < 2 or at + length > len(data):
            return
        yield Segment(marker, at + 2, data[at + 2 : at + length])
        at += length


def next_mark(data: bytes, at: int) -> Mark | None:
    """Return the first marker from `at` on, restarts aside."""
    found = _MARKER.search(data, at)
    return Mark(found[1][0], found.start()) if found else None


def scan_count(data: bytes) -> int:
    """Count the scans of a JPEG file."""
    return sum(segment.marker == SCAN for segment in segments(data))


def ended_otherwise(data: bytes) -> tuple[bytes, ...] | None:
    """Return a JPEG without end mark in several completed versions; None if scans are missing.

    The first is the file and the end mark. The others have different bits in between. If the last
    scan is complete, nothing reads these bits and no pixel changes; if it is cut, they replace the
    missing bits. So the image is complete if all versions decode to the same pixels.
    """
    cut = data.rstrip(b"\xff")  # the first half of the end mark, or of a byte of the scan
    if not _all_scans_begun(cut):
        return None
    last = max((s.start + len(s.body) for s in segments(cut) if s.marker == SCAN), default=0)
    restarts = _RESTART.findall(cut, last)
    number = (restarts[-1][0] + 1) % 8 if restarts else 0
    end = b"\xff\xd9"
    return (cut + end, *(cut + _repeated(filling, number) + end for filling in _FILLINGS))


def _repeated(filling: bytes, number: int) -> bytes:
    """Return bits for the missing parts of this restart interval and of the following ones."""
    restarts = (bytes([0xFF, 0xD0 + (number + i) % 8]) for i in range(8))
    return filling + b"".join(restart + filling for restart in restarts)


def _all_scans_begun(data: bytes) -> bool:
    """Return whether every component has a scan and, in a progressive file, every bit has one."""
    missing: dict[int, dict[int, int]] = {}  # component -> coefficient -> bits still to come
    progressive = False
    for segment in segments(data):
        body = segment.body
        if segment.marker in _FRAMES:
            progressive = segment.marker in _PROGRESSIVE
            wanted = _COEFFICIENTS if progressive else 1
            missing = {component: dict.fromkeys(range(wanted), 1) for component in body[6::3]}
        elif segment.marker == SCAN and len(body) >= 6:
            first, last, low = (body[-3], body[-2], body[-1] & 15) if progressive else (0, 0, 0)
            for component in body[1 : 1 + 2 * body[0] : 2]:
                left = missing.get(component, {})
                if low == 0:
                    for coefficient in range(first, last + 1):
                        left.pop(coefficient, None)
    return bool(missing) and not any(missing.values())
