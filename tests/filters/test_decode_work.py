"""Files that ask for work without end are refused before they are decoded, wherever they run."""

import io
import struct
import time
import zlib

import pytest
from jpegs import of_empty_scans, segment
from PIL import Image

from filters.decode import DecodeError, decode
from filters.decode_work import (
    MAX_GIF_BLOCKS,
    MAX_GIF_COMMENT_BYTES,
    MAX_JPEG_SEGMENTS,
    MAX_PNG_CHUNKS,
    MAX_PNG_INFLATED,
    MAX_SCANNED_PIXELS,
    MAX_SCANS,
)

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")


def written(name: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(file, name, **options)
    return file.getvalue()


def refusal(data: bytes) -> str:
    """Return why a file is refused, at once."""
    started = time.process_time()
    with pytest.raises(DecodeError) as caught:
        decode(data, max_pixels=100_000_000)
    assert time.process_time() - started < 20
    assert caught.value.reason == "decode_timeout"
    return caught.value.detail


def is_red(data: bytes) -> bool:
    return decode(data, max_pixels=10**6).getpixel((3, 3)) in ((255, 0, 0), (254, 0, 0))


def test_a_jpeg_of_thousands_of_empty_scans_is_refused() -> None:
    data = of_empty_scans(2_500, 9_000, 9_000)
    assert len(data) < 800_000
    assert refusal(data) == "2,501 scans of 81,000,000 pixels, at most 61 are decoded"


@pytest.mark.parametrize("spare", [-1, 0, 1])
def test_a_scan_more_than_allowed_is_too_many(spare: int) -> None:
    small = of_empty_scans(MAX_SCANS - 1 + spare, 64, 64)  # beside the first
    large = of_empty_scans(MAX_SCANNED_PIXELS // 8_000**2 - 1 + spare, 8_000, 8_000)
    if spare > 0:
        assert "501 scans of 4,096 pixels, at most 500" in refusal(small)
        assert "79 scans of 64,000,000 pixels, at most 78" in refusal(large)
    else:
        assert decode(small, max_pixels=10**8).size == (64, 64)
    if spare == 0:
        assert decode(large, max_pixels=10**8).size == (8_000, 8_000)


def test_thumbnails_in_a_jpeg_do_not_count() -> None:
    data = written("JPEG")
    thumbnails = segment(0xE5, b"\xff\xda" * 1_000) + segment(0xFE, b"\xff\xda" * 1_000)
    assert is_red(data[:2] + thumbnails + data[2:])


@pytest.mark.parametrize("spare", [0, 1])
def test_segments_before_a_jpegs_image_are_counted(spare: int) -> None:
    data = written("JPEG")
    own = data[2:].split(b"\xff\xda")[0].count(b"\xff")
    body = data[:2] + segment(0xFE, b"x") * (MAX_JPEG_SEGMENTS - own + spare * own + 1) + data[2:]
    if spare:
        assert "segments before the image" in refusal(body)
    else:
        assert is_red(data[:2] + segment(0xFE, b"x") * 500 + data[2:])


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*, before: bytes = b"", after: bytes = b"") -> bytes:
    data = written("PNG")
    end = data.index(b"IEND") - 4
    return data[:33] + before + data[33:end] + after + data[end:]


def test_chunks_of_a_png_that_inflate_are_counted() -> None:
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(1_000_000)))
    assert "chunks of text and profiles" in refusal(png(before=profile * (MAX_PNG_INFLATED + 1)))
    assert "chunks of text and profiles" in refusal(png(after=profile * (MAX_PNG_INFLATED + 1)))
    text = chunk(b"zTXt", b"key\0\0" + zlib.compress(b"text"))
    assert is_red(png(before=text * 200, after=text * 200))


def test_chunks_of_a_png_are_counted() -> None:
    assert "over 100,000 chunks" in refusal(png(after=chunk(b"prVt", b"") * MAX_PNG_CHUNKS))
    assert is_red(png(after=chunk(b"prVt", b"") * 1_000))


def gif(*blocks: bytes) -> bytes:
    data = written("GIF")
    start = 13 + (3 << (data[10] & 7) + 1)
    return data[:start] + b"".join(blocks) + data[start:]


def test_comments_before_a_gifs_image_are_counted() -> None:
    one = b"!\xfe\1x\0"
    assert "blocks before the image" in refusal(gif(one * (MAX_GIF_BLOCKS + 1)))
    long = b"!\xfe" + (b"\xff" + b"x" * 255) * (MAX_GIF_COMMENT_BYTES // 255 + 1) + b"\0"
    assert "bytes of comments" in refusal(gif(long))
    assert decode(gif(one * 100), max_pixels=10**6).size == (16, 16)


def test_a_gif_of_many_frames_costs_its_first() -> None:
    frames = [Image.new("RGB", (16, 16), (n % 256, n // 256, 0)) for n in range(2_000)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert decode(file.getvalue(), max_pixels=10**6).getpixel((0, 0)) == (0, 0, 0)


def tiff(compression: int, entries: dict[int, tuple[int, list[int]]], data: bytes) -> bytes:
    """Write a TIFF of one grey image; entries are tag -> (type, values), 3 short and 4 long."""
    tags = {258: (3, [8]), 259: (3, [compression]), 262: (3, [1]), 277: (3, [1])} | entries
    body, extra = b"", b""
    start = 8 + 2 + 12 * len(tags) + 4
    for tag, (kind, values) in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(packed) > 4:
            place = struct.pack("<I", start + len(data) + len(extra))
            extra += packed
        else:
            place = packed.ljust(4, b"\0")
        body += struct.pack("<HHI", tag, kind, len(values)) + place
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + body + bytes(4)
    return head + data + extra


def test_a_tiff_that_pads_its_tiles_without_end_is_refused() -> None:
    width, across, down = 4_000_000, 16, 65_536
    tiles = width // across
    data = zlib.compress(bytes(across * down))
    start = 8 + 2 + 12 * 10 + 4
    entries = {
        256: (4, [width]),
        257: (4, [1]),
        322: (4, [across]),
        323: (4, [down]),
        324: (4, [start] * tiles),
        325: (4, [len(data)] * tiles),
    }
    assert "tiles of 262,144,000,000 pixels" in refusal(tiff(8, entries, data))


def test_a_tiff_whose_strips_are_all_the_same_bytes_is_refused() -> None:
    rows, data = 5_000, bytes(2_000_000)
    start = 8 + 2 + 12 * 9 + 4
    entries = {
        256: (4, [16]),
        257: (4, [rows]),
        278: (4, [1]),
        273: (4, [start] * rows),
        279: (4, [len(data)] * rows),
    }
    assert "strips of 10,000,000,000 bytes" in refusal(tiff(5, entries, data))


def test_a_tiff_of_thousands_of_strips_is_read() -> None:
    rows = 5_000
    start = 8 + 2 + 12 * 9 + 4
    entries = {
        256: (4, [16]),
        257: (4, [rows]),
        278: (4, [1]),
        273: (4, [start + 16 * row for row in range(rows)]),
        279: (4, [16] * rows),
    }
    image = decode(tiff(1, entries, bytes([7]) * 16 * rows), max_pixels=10**6)
    assert (image.size, image.getpixel((0, 4_999))) == ((16, rows), (7, 7, 7))
