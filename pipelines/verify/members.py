"""Check the members of one sample, as a reader of the corpus meets them."""

import io
import json
from collections.abc import Generator, Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from filters.colour_layout import colour_layout, layout_distance
from pipelines.shards.write_shard import fitted_size
from pipelines.verify.faults import differences
from pipelines.verify.rows import expected_array
from schemas.recipe import ShardConfig

# Levels in any cell of a 4 x 4 grid between an image and its JPEG, which is mostly within 3.
LAYOUT_APART = 24
# Markers of segments of a JPEG.
COMMENT, SCAN = 0xFE, 0xDA


def json_differs(found: bytes, expected: str) -> Iterator[str]:
    """Say in which fields a record differs from what the side-cars make of it."""
    try:
        said = [*differences(json.loads(found), json.loads(expected))]
    except (ValueError, RecursionError) as error:
        said = [str(error)]
    yield from (f"json: {what}" for what in said or ["it is written otherwise"])


def array_faults(made: Mapping[str, Any], body: bytes, aspect: float) -> Iterator[str]:
    """Say in what a member is not what the manifest's line of it says."""
    name = made["member"]
    try:
        array = np.load(io.BytesIO(body), allow_pickle=False)
        dtype, shape = expected_array(made, aspect)
    except (ValueError, EOFError, OSError) as error:
        yield f"{name}: {error}"
        return
    if array.shape != (*shape,) or array.dtype != dtype:
        yield f"{name}: {array.dtype} {array.shape}, expected {dtype} {(*shape,)}"
    elif made["kind"] == "features" and not np.isfinite(array).all():
        yield f"{name}: NaN or infinite features"
    elif made["kind"] == "codes" and int(array.max()) >= made["codes_limit"]:
        yield f"{name}: code {array.max()}, the limit is {made['codes_limit']}"


def image_faults(jpg: bytes, sample: Mapping[str, Any], settings: ShardConfig) -> Iterator[str]:
    """Say in what a JPEG is not that of its sample; the image as fetched is not looked at."""
    size = sample["width"], sample["height"]
    image = yield from jpeg_faults("jpg", jpg, settings, size)
    layout = sample["signals"].get("colour_layout")
    if image is None or not layout:
        return
    if (apart := layout_distance(colour_layout(image), layout)) > LAYOUT_APART:
        yield f"jpg: another picture: colours are up to {apart} levels from those measured"


def jpeg_faults(
    name: str, jpg: bytes, settings: ShardConfig, size: tuple[int, int] | None
) -> Generator[str, None, Image.Image | None]:
    """Say in what a JPEG is not as a shard's are written; return its picture if it can be read.

    Args:
        name: of the member.
        jpg: the member.
        settings: how images are written.
        size: width and height in px that it should have; None where only the most is known.
    """
    try:
        with Image.open(io.BytesIO(jpg), formats=["JPEG"]) as image:
            wanted = size or fitted_size(*image.size, settings.short_side)
            if (image.mode, *image.size) != ("RGB", *wanted):
                yield f"{name}: {image.mode} {image.size}, expected RGB {wanted}"
                return None
            image.load()
    except (OSError, ValueError, SyntaxError) as error:
        yield f"{name}: {error}"
        return None
    segments, scan = _segments(jpg)
    # In coded pixels 0xff is never followed by 0xd9, which ends them; the first scan is the only.
    if jpg.find(b"\xff\xd9", scan) != len(jpg) - 2:
        yield f"{name}: bytes after its end, or none that mark it"
    quantization, expected = _as_encoded(settings.jpeg_quality)
    # The writer hands on a comment that stands in the image as fetched.
    comments = [segment for segment in segments if segment[0] == COMMENT]
    if len(comments) > 1 or [s for s in segments if s[0] != COMMENT] != expected:
        yield f"{name}: holds more than pixels"
    if image.quantization != quantization:  # type: ignore[attr-defined]
        yield f"{name}: not of quality {settings.jpeg_quality}"
    return image


def _segments(jpg: bytes) -> tuple[list[tuple[int, int]], int]:
    """Return marker and length of each segment up to the first scan, and where that begins."""
    found: list[tuple[int, int]] = []
    at = 2
    while len(jpg) >= at + 4:
        fill, marker, length = jpg[at], jpg[at + 1], int.from_bytes(jpg[at + 2 : at + 4], "big")
        found.append((marker if fill == 0xFF else -1, length))
        at += 2 + length
        if marker == SCAN or fill != 0xFF:
            break
    return found, at


@cache
def _as_encoded(quality: int) -> tuple[dict[int, list[int]], list[tuple[int, int]]]:
    """Return the quantization and the segments of each JPEG that is written."""
    encoded = io.BytesIO()
    Image.new("RGB", (8, 8)).save(encoded, "JPEG", quality=quality)
    with Image.open(encoded) as image:
        return image.quantization, _segments(encoded.getvalue())[0]  # type: ignore[attr-defined]
