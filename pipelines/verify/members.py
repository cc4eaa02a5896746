"""Checks of the members of one sample, as a reader of the corpus sees them."""

import io
import json
from collections.abc import Generator, Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from filters.bare_jpeg import bare_jpeg
from filters.colour_layout import colour_layout, layout_distance
from pipelines.shards.sample_image import fitted_size
from pipelines.verify.faults import differences
from pipelines.verify.rows import expected_array
from schemas.recipe import ShardConfig

# Levels (0 to 255) that a cell of a 4 x 4 grid may change from an image to its JPEG; mostly 3.
MAX_LAYOUT_DISTANCE = 24
SCAN = 0xDA  # marker of a JPEG segment


def json_differs(found: bytes, expected: str) -> Iterator[str]:
    """Yield the fields of a JSON record that differ from the expected record."""
    try:
        messages = [*differences(json.loads(found), json.loads(expected))]
    except (ValueError, RecursionError) as error:
        messages = [str(error)]
    yield from (f"json: {what}" for what in messages or ["not written as the build writes it"])


def array_faults(made: Mapping[str, Any], body: bytes, aspect: float) -> Iterator[str]:
    """Yield how an array differs from the description of its member in the manifest."""
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
    """Yield how a JPEG differs from its sample, without reading the fetched image."""
    size, signals = (sample["width"], sample["height"]), sample["signals"]
    is_whole = size == (signals["width"], signals["height"])
    may_be_kept = settings.reencode == "needed" and is_whole
    image = yield from jpeg_faults("jpg", jpg, settings, size, may_be_kept=may_be_kept)
    layout = signals.get("colour_layout")
    if image is None or not layout:
        return
    if (distance := layout_distance(colour_layout(image), layout)) > MAX_LAYOUT_DISTANCE:
        yield f"jpg: another picture: colours are up to {distance} levels from the measured ones"


def jpeg_faults(
    name: str,
    jpg: bytes,
    settings: ShardConfig,
    size: tuple[int, int] | None,
    *,
    may_be_kept: bool = False,
) -> Generator[str, None, Image.Image | None]:
    """Yield how a JPEG differs from a JPEG of the writer; return its picture if it can be read.

    Args:
        name: name of the member.
        jpg: bytes of the member.
        settings: settings that images are written with.
        size: expected width and height in px; None where only the maximum is known.
        may_be_kept: whether it may also be a fetched JPEG with its own coded pixels.
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
    if may_be_kept and bare_jpeg(jpg) == jpg:
        return image
    segments, scan = _segments(jpg)
    # 0xff 0xd9 ends the coded pixels and never occurs in them; there is one scan.
    if jpg.find(b"\xff\xd9", scan) != len(jpg) - 2:
        yield f"{name}: bytes after its end, or no mark of its end"
    quantization, expected = _expected_encoding(settings.jpeg_quality)
    if segments != expected:
        yield f"{name}: holds more than pixels"
    if image.quantization != quantization:  # type: ignore[attr-defined]
        yield f"{name}: not of quality {settings.jpeg_quality}"
    return image


def _segments(jpg: bytes) -> tuple[list[tuple[int, int]], int]:
    """Return marker and length of each segment up to the scan, and the offset of its data."""
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
def _expected_encoding(quality: int) -> tuple[dict[int, list[int]], list[tuple[int, int]]]:
    """Return the quantization and the segments that each written JPEG has."""
    encoded = io.BytesIO()
    Image.new("RGB", (8, 8)).save(encoded, "JPEG", quality=quality)
    with Image.open(encoded) as image:
        return image.quantization, _segments(encoded.getvalue())[0]  # type: ignore[attr-defined]
