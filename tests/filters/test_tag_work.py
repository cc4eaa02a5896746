"""Tags that share their bytes do not multiply what a file takes of memory."""

import io
import struct
import tracemalloc

import pytest
from PIL import Image

from filters.decode import FORMATS, DecodeError, decode
from filters.tag_work import MAX_TAGS, excess_of_tags

SIZE = 400_000
BASE = (
    *((256, 4, 1, 16), (257, 4, 1, 16), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)),
    *((273, 4, 1, 16), (277, 3, 1, 1), (278, 4, 1, 16), (279, 4, 1, 256)),
)


def tiff(tags: int, *, order: str = "<", big: bool = False, below: bool = False) -> bytes:
    """Write a TIFF whose last tags are all of its bytes; below: in the EXIF directory."""
    entry = "HHQQ" if big else "HHLL"
    number = f"{order}{'Q' if big else 'H'}"
    same = [(40_000 + n, 7, SIZE, 16) for n in range(tags)]

    def packed(*fields: int) -> bytes:
        if fields[1] == 3 and order == ">":  # a short is the first of its bytes
            fields = (*fields[:3], fields[3] << (48 if big else 16))
        return struct.pack(order + entry, *fields)

    def directory(entries: list[tuple[int, ...]]) -> bytes:
        tail = bytes(8 if big else 4)
        return struct.pack(number, len(entries)) + b"".join(packed(*e) for e in entries) + tail

    mark = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}H", 43 if big else 42)
    at = 16 + SIZE
    held = directory(same) if below else b""
    first = [*BASE, (34665, 4, 1, at)] if below else [*BASE, *same]
    where = at + len(held)
    start = struct.pack(f"{order}HHQ", 8, 0, where) if big else struct.pack(f"{order}L", where)
    body = held + directory(first)
    return (mark + start).ljust(16, b"\0") + bytes(SIZE) + body


def exif(tags: int) -> bytes:
    """Write an EXIF block that turns the image, of tags of 60,000 bytes."""
    entries = [(274, 3, 1, 3), *((40_000 + n, 7, 50_000, 8) for n in range(tags))]
    body = b"".join(struct.pack("<HHLL", *entry) for entry in entries)
    head = b"II*\0" + struct.pack("<L", 8 + 50_000) + bytes(50_000)
    return b"Exif\0\0" + head + struct.pack("<H", len(entries)) + body + bytes(4)


@pytest.mark.parametrize("below", [False, True])
@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_a_tiff_of_tags_that_share_their_bytes_is_refused(
    order: str, big: bool, below: bool
) -> None:
    data = tiff(50, order=order, big=big, below=below)
    with pytest.raises(DecodeError, match=r"decode_timeout: tags of over 1,80\d,\d{3} bytes"):
        decode(data, max_pixels=10**6)
    small = tiff(3, order=order, big=big, below=below)
    assert decode(small, max_pixels=10**6).size == (16, 16)


@pytest.mark.parametrize("name", [name for name in FORMATS if name in ("JPEG", "PNG", "WEBP")])
def test_exif_of_such_tags_is_not_read(name: str) -> None:
    image = Image.new("RGB", (16, 16), "red")
    image.paste("blue", (0, 0, 16, 8))

    def top(tags: int) -> tuple[int, ...]:
        file = io.BytesIO()
        image.save(file, name, exif=exif(tags))
        tracemalloc.start()
        pixel = decode(file.getvalue(), max_pixels=10**6).getpixel((8, 2))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10_000_000
        assert isinstance(pixel, tuple)
        return pixel

    assert top(10)[0] > 200  # turned
    assert top(1_000)[2] > 200  # as it lies


@pytest.mark.skipif("AVIF" not in FORMATS, reason="this Pillow has no AVIF")
def test_an_avif_with_such_exif_is_refused() -> None:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(file, "AVIF")
    data = file.getvalue() + exif(1_000)
    with pytest.raises(DecodeError, match="decode_timeout: tags of"):
        decode(data, max_pixels=10**6)


def test_directories_that_lead_to_each_other_end() -> None:
    entries = [(34665, 4, 1, 8)] * 60_000
    body = b"".join(struct.pack("<HHLL", *entry) for entry in entries)
    data = b"II*\0" + struct.pack("<LH", 8, len(entries)) + body
    assert excess_of_tags(data) == f"over {MAX_TAGS:,} tags"
    assert excess_of_tags(data[:9]) == ""
    assert excess_of_tags(b"II+\0") == ""
