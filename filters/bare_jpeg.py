"""The coded pixels of a JPEG without anything else: nothing is decoded, so nothing is lost."""

from collections.abc import Callable, Sequence
from itertools import islice, pairwise

from filters.decode import read_header
from filters.jpeg_scans import END, SCAN, TABLES, Segment, next_mark, segments

START_MARK, END_MARK = b"\xff\xd8", b"\xff\xd9"
_JFIF = b"JFIF\0\x01\x01\0\0\1\0\1\0\0"  # version 1.1, square pixels, no thumbnail: Pillow's own
HEADER = START_MARK + b"\xff\xe0" + (2 + len(_JFIF)).to_bytes(2, "big") + _JFIF
MAX_SEGMENTS = 1_000
MAX_SCANS = 30  # encoders write about ten
MAX_TABLE_BYTES = 10_000  # encoders write 500 to 2,000

_FRAMES = (0xC0, 0xC2)  # baseline and progressive, Huffman: what every decoder reads
_KEPT = (*_FRAMES, TABLES, 0xDB, 0xDD, SCAN)  # Huffman and quantization tables, restart interval
_DROPPED = (*range(0xE0, 0xF0), 0xFE)  # of applications, and comments
_JFIF_SEGMENT, _ADOBE_SEGMENT = 0xE0, 0xEE


def kept_jpeg(data: bytes, *, max_pixels: int, fits: Callable[[int, int], bool]) -> bytes | None:
    """Return a JPEG file with its own coded pixels; None if it must be encoded anew.

    It is kept if it needs no change: it is upright, sRGB (or of a profile that changes no colour),
    fits, and `bare_jpeg` can write it. Its pixels are not decoded: of a file that `decode` refuses,
    the result may be one that `decode` refuses.

    Args:
        data: the file.
        max_pixels: as in `filters.decode.decode`.
        fits: whether an image of this width and height needs no resizing.

    Raises:
        DecodeError: the header cannot be used.
    """
    if (bare := bare_jpeg(data)) is None:
        return None
    header = read_header(data, max_pixels=max_pixels)
    fine = header.upright and header.srgb and fits(header.width, header.height)
    return bare if fine else None


def bare_jpeg(data: bytes) -> bytes | None:
    """Return a JPEG of nothing but its pixels: a JFIF header, frame, tables and scans.

    EXIF, XMP, profiles, thumbnails, comments, bytes between segments and bytes after the end mark
    are left out. Coded pixels are copied, so a decoder draws the same pixels. What it returns, it
    returns unchanged.

    Returns:
        None if the file is no whole baseline or progressive JPEG of three components in YCbCr with
        8 bits, or has more than `MAX_SCANS` scans or `MAX_TABLE_BYTES` of tables.
    """
    if not data.startswith(START_MARK + b"\xff"):
        return None
    found = [*islice(segments(data), MAX_SEGMENTS + 1)]
    if len(found) > MAX_SEGMENTS or not _is_plain(found):
        return None
    kept = [HEADER]
    for segment, following in pairwise([*found, None]):
        assert segment is not None
        end = segment.start + len(segment.body)
        mark = next_mark(data, end)
        if mark is None or mark.number != (following.marker if following else END):
            return None
        if segment.marker == SCAN:  # it goes on to the next mark, or the fill bytes before it
            kept.append(data[segment.start - 4 : mark.start].rstrip(b"\xff"))
        elif segment.marker in _KEPT:
            kept.append(data[segment.start - 4 : end])
    return b"".join([*kept, END_MARK])


def _is_plain(found: Sequence[Segment]) -> bool:
    """Whether these are the segments of a file that `bare_jpeg` can write."""
    frames = [segment.body for segment in found if segment.marker in _FRAMES]
    scans = [number for number, segment in enumerate(found) if segment.marker == SCAN]
    if len(frames) != 1 or not 1 <= len(scans) <= MAX_SCANS:
        return False
    tables = sum(len(s.body) for s in found if s.marker in _KEPT)
    return (
        all(segment.marker in _KEPT or segment.marker in _DROPPED for segment in found)
        and tables <= MAX_TABLE_BYTES
        and frames[0][:1] == b"\x08"
        and frames[0][5:6] == b"\x03"
        and len(frames[0]) == 15
        and _is_ycbcr(found[: scans[0]], frames[0])
    )


def _is_ycbcr(head: Sequence[Segment], frame: bytes) -> bool:
    """Whether three components are YCbCr by the rules of libjpeg (`default_decompress_parms`)."""
    if any(s.marker == _JFIF_SEGMENT and _is_jfif(s.body) for s in head):
        return True
    adobe = [s.body for s in head if s.marker == _ADOBE_SEGMENT and s.body[:5] == b"Adobe"]
    if adobe:
        return all(body[11:12] == b"\1" for body in adobe)
    return frame[6::3] == b"\1\2\3"


def _is_jfif(body: bytes) -> bool:
    return body.startswith(b"JFIF\0") and len(body) >= len(_JFIF)
