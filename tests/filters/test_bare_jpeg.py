"""A JPEG without its metadata draws the same pixels, or is not made."""

import io
import random
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from jpegs import segment
from PIL import ExifTags, Image, ImageCms

from filters.bare_jpeg import MAX_SCANS, MAX_SEGMENTS, MAX_TABLE_BYTES, bare_jpeg, kept_jpeg
from filters.decode import DecodeError
from filters.jpeg_scans import segments

SIZE = 90, 70  # px, no multiple of a block
Y, X = np.mgrid[: SIZE[1], : SIZE[0]]
NOISE = np.random.default_rng(1).integers(0, 40, (*Y.shape, 3), dtype=np.uint8)
PICTURE = Image.fromarray(np.stack([X * 2, Y * 3, X + Y], -1).astype(np.uint8) + NOISE)
ROTATED = Image.Exif()
ROTATED[ExifTags.Base.Orientation] = 6
UPRIGHT = Image.Exif()
UPRIGHT[ExifTags.Base.Orientation] = 1
UPRIGHT[ExifTags.Base.Make] = "a camera"
WAYS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "fine": {"quality": 98, "subsampling": 0},
    "coarse": {"quality": 30, "optimize": True},
    "restarts": {"restart_marker_blocks": 3},
    "progressive": {"progressive": True},
    "progressive with restarts": {"progressive": True, "restart_marker_rows": 1},
}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
METADATA: dict[str, dict[str, Any]] = {
    "none": {},
    "exif": {"exif": UPRIGHT},
    "comment": {"comment": b"made by hand \xff\xd9 \xff\xda"},
    "sRGB profile": {"icc_profile": SRGB},
    "density": {"dpi": (300, 300)},
    "xmp": {"xmp": b"<x:xmpmeta/>"},
}


def jpeg(image: Image.Image = PICTURE, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def pixels(data: bytes) -> tuple[str, tuple[int, int], bytes] | None:
    """Return what Pillow draws of a JPEG, None if it cannot."""
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            image.load()
    # Pillow raises many classes for hostile bytes.
    except Exception:
        return None
    return image.mode, image.size, image.tobytes()


def kept(data: bytes, fits: Callable[[int, int], bool] = lambda *size: True) -> bytes | None:
    return kept_jpeg(data, max_pixels=10**6, fits=fits)


@pytest.mark.parametrize(("way", "metadata"), [*product(WAYS, METADATA)])
def test_a_jpeg_without_its_metadata_is_what_pillow_writes_without_any(
    way: str, metadata: str
) -> None:
    data = jpeg(**WAYS[way], **METADATA[metadata])
    assert kept(data) == jpeg(**WAYS[way])
    assert kept(data + b"more") == kept(data)
    assert bare_jpeg(jpeg(**WAYS[way])) == jpeg(**WAYS[way])


def test_bytes_between_segments_and_segments_between_scans_are_left_out() -> None:
    plain = jpeg(progressive=True)
    [first, second, *_] = [s.start - 4 for s in segments(plain) if s.marker == 0xDA]
    hidden = segment(0xFE, b"hidden") + segment(0xE9, bytes(500)) + b"\xff\xff"
    stuffed = plain[:20] + b"junk" + plain[20:first] + hidden + plain[first:second] + hidden
    assert kept(stuffed + plain[second:-2] + hidden + plain[-2:]) == plain


def with_frame(data: bytes, at: int, value: int) -> bytes:
    """Change a byte of the frame's header, from its precision on."""
    [start] = [found.start for found in segments(data) if found.marker in (0xC0, 0xC2)]
    return data[: start + at] + bytes([value]) + data[start + at + 1 :]


BASELINE, PROGRESSIVE = jpeg(), jpeg(progressive=True)
SCANS = PROGRESSIVE[PROGRESSIVE.index(b"\xff\xda") : -2]
REFUSED = {
    "grey": jpeg(PICTURE.convert("L")),
    "CMYK": jpeg(PICTURE.convert("CMYK")),
    "RGB": jpeg(keep_rgb=True),
    "no end mark": BASELINE[:-2],
    "half an end mark": BASELINE[:-1],
    "cut in its scan": BASELINE[: len(BASELINE) // 2],
    "no scan": BASELINE[: BASELINE.index(b"\xff\xda")] + b"\xff\xd9",
    "12 bits": with_frame(BASELINE, 0, 12),
    "extended": BASELINE.replace(b"\xff\xc0", b"\xff\xc1", 1),
    "arithmetic": PROGRESSIVE.replace(b"\xff\xc2", b"\xff\xca", 1),
    "two frames": BASELINE[:-2] + BASELINE[BASELINE.index(b"\xff\xc0") :],
    "a second start": BASELINE[:-2] + b"\xff\xd8" + BASELINE[-2:],
    "an unknown segment": BASELINE[:20] + segment(0xF0, b"") + BASELINE[20:],
    "a lone mark in its scan": BASELINE[:-2] + b"\xff\x01" + BASELINE[-2:],
    "many scans": PROGRESSIVE[:-2] + SCANS * (MAX_SCANS // 10) + b"\xff\xd9",
    "many tables": BASELINE[:20] + segment(0xDB, b"\0" + b"\1" * 64) * 200 + BASELINE[20:],
    "many segments": BASELINE[:20] + segment(0xFE, b"") * MAX_SEGMENTS + BASELINE[20:],
    "no JPEG": b"\x89PNG\r\n\x1a\n" + BASELINE,
    "nothing": b"",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_whole_plain_jpeg_is_not_kept(what: str) -> None:
    assert bare_jpeg(REFUSED[what]) is None


def test_the_limits_are_the_most_that_is_kept() -> None:
    table = segment(0xDB, b"\0" + b"\1" * 64)  # quantization table 0, which the next one replaces
    spare = MAX_TABLE_BYTES - sum(len(s.body) for s in segments(BASELINE) if s.marker < 0xE0)
    assert kept(BASELINE[:20] + table * (spare // 65) + BASELINE[20:]) is not None
    assert kept(BASELINE[:20] + table * (spare // 65 + 1) + BASELINE[20:]) is None
    more = SCANS[SCANS.rindex(b"\xff\xda") :] * (MAX_SCANS - 10)
    assert bare_jpeg(PROGRESSIVE[:-2] + more + b"\xff\xd9") is not None


def test_an_image_that_needs_a_change_is_not_kept() -> None:
    swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    wide = bytearray(SRGB)
    red, green = wide.index(b"rXYZ"), wide.index(b"gXYZ")
    wide[red : red + 4], wide[green : green + 4] = b"gXYZ", b"rXYZ"
    assert kept(jpeg(exif=ROTATED)) is None
    assert kept(jpeg(icc_profile=bytes(wide))) is None
    assert kept(BASELINE, fits=lambda width, height: (width, height) != SIZE) is None
    assert kept(BASELINE, fits=lambda width, height: (width, height) == SIZE) == BASELINE
    # A profile that is not of RGB pixels is ignored, as by `decode`.
    assert kept(jpeg(icc_profile=swapped)) == BASELINE


def test_the_limits_of_decoding_hold() -> None:
    with pytest.raises(DecodeError, match="too_many_pixels"):
        kept_jpeg(BASELINE, max_pixels=SIZE[0] * SIZE[1] - 1, fits=lambda *size: True)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Replace a few bytes; those of the header as often as those of the pixels."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(2, rng.choice((700, len(data))))
        data = data[:at] + rng.choice(PARTS) + data[at + rng.randint(0, 4) :]
    return data


PARTS = (
    *(bytes([0xFF, mark]) for mark in (0xFF, 0x01, 0xD3, 0xD8, 0xD9, 0xDA)),
    *(b"", b"\0", b"\xff", b"JFIX", segment(0xFE, b"\xff\xda")),
    *(segment(0xDD, b"\0\2"), segment(0xEE, b"Adobe" + bytes(7))),
)


def test_of_a_damaged_file_too_the_same_pixels_are_drawn() -> None:
    rng = random.Random(0)
    files = [jpeg(**way, **METADATA[name]) for way in WAYS.values() for name in ("none", "comment")]
    files += [jpeg(keep_rgb=True), BASELINE.replace(b"JFIF", b"JFIX")]
    drawn, differing = 0, []
    for number in range(1_000):
        data = damaged(files[number % len(files)], rng)
        bare, expected = bare_jpeg(data), pixels(data)
        if bare is not None and expected is not None:
            drawn += 1
            differing += [number] * (pixels(bare) != expected or bare_jpeg(bare) != bare)
    assert differing == []
    assert drawn > 300
