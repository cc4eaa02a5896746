"""A JPEG without its end mark is whole if its last scan is, and truncated if that is cut."""

import io
from itertools import product

import numpy as np
import pytest
from PIL import Image

from filters.decode import DecodeError, decode
from filters.jpeg_scans import scan_count, segments

SIZE = 90, 70  # px, no multiple of a block
Y, X = np.mgrid[: SIZE[1], : SIZE[0]]
SMOOTH = np.stack([X * 2, Y * 3, X + Y], -1).astype(np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (*SMOOTH.shape,), dtype=np.uint8)
HALF = np.where(Y[..., None] < 35, SMOOTH, 255).astype(np.uint8)
PICTURES = {"smooth": SMOOTH, "noise": NOISE, "half": HALF}
WAYS = {
    "baseline": {},
    "fine": {"quality": 98, "subsampling": 0},
    "coarse": {"quality": 30, "optimize": True},
    "restarts": {"restart_marker_blocks": 3},
    "rows of restarts": {"restart_marker_rows": 1, "subsampling": 2},
    "progressive": {"progressive": True},
    "coarse and progressive": {"progressive": True, "quality": 30, "optimize": True},
    "progressive with restarts": {"progressive": True, "restart_marker_rows": 1},
}


def jpeg(picture: str, mode: str, way: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PICTURES[picture]).convert(mode).save(file, "JPEG", **WAYS[way])
    assert file.getvalue().endswith(b"\xff\xd9")
    return file.getvalue()


def pixels(data: bytes) -> bytes | None:
    """Return the pixels of a file, None if it is truncated."""
    try:
        return decode(data, max_pixels=10**6).tobytes()
    except DecodeError as error:
        return None if error.reason == "truncated_image" else str(error).encode()


@pytest.mark.parametrize(("mode", "way"), [*product(("RGB", "L", "CMYK"), WAYS)])
def test_one_that_lacks_its_end_mark_or_half_of_it_is_whole(mode: str, way: str) -> None:
    for picture in PICTURES:
        data = jpeg(picture, mode, way)
        whole = pixels(data)
        assert whole is not None
        for body in (data[:-1], data[:-2], data[:-2] + b"\n", data[:-2] + bytes(7)):
            assert pixels(body) == whole, (picture, len(data) - len(body))


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("way", WAYS)
def test_one_that_is_cut_in_a_scan_is_truncated(picture: str, way: str) -> None:
    data = jpeg(picture, "RGB", way)
    whole = pixels(data)
    first = next(s.start for s in segments(data) if s.marker == 0xDA)
    near = range(max(first, len(data) - 60), len(data) - 2)
    cuts = sorted({*near, *range(first, len(data) - 2, max(1, len(data) // 60))})
    found = {cut: pixels(data[:cut]) for cut in cuts}
    assert [cut for cut in cuts if found[cut] not in (None, whole)] == []
    # What follows may be such that no bit of it could change a pixel: zeros of a last refinement.
    same = [len(data) - cut for cut in cuts if found[cut] is not None]
    assert not same or ("progressive" in way and max(same) <= 12), same


def test_one_that_is_cut_between_scans_is_truncated() -> None:
    data = jpeg("noise", "RGB", "progressive")
    scans = [segment.start - 4 for segment in segments(data) if segment.marker == 0xDA]
    tables = [segment.start - 4 for segment in segments(data) if segment.marker == 0xC4]
    assert len(scans) == 10
    for cut in {*scans[1:], *tables}:
        if cut > scans[0]:
            assert pixels(data[:cut]) is None
            assert pixels(data[: cut + 3]) is None


def test_scans_of_thumbnails_are_not_counted() -> None:
    data = jpeg("smooth", "RGB", "progressive")
    assert scan_count(data) == 10
    inside = b"Exif\0\0" + jpeg("half", "RGB", "progressive")
    thumbnail = b"\xff\xe1" + (len(inside) + 2).to_bytes(2, "big") + inside
    with_thumbnail = data[:2] + thumbnail + data[2:]
    assert scan_count(with_thumbnail) == 10
    assert scan_count(data + data) == 10
    assert scan_count(jpeg("smooth", "RGB", "baseline")) == 1
