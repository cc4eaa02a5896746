"""The image of a sample: its own coded pixels where nothing needs to change, else encoded."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageChops, ImageStat

from filters.decode import DecodeError, decode
from pipelines.shards.sample_image import encoded_jpeg, fitted_size, sample_jpeg
from schemas.recipe import DecodeConfig, ShardConfig

NEEDED, ALWAYS = (ShardConfig(short_side=64, reencode=how) for how in ("needed", "always"))


def scene(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[:height, :width] * 256 / height
    levels = np.stack([128 + 90 * np.sin(x / 9) * np.cos(y / 13), 255 - y, x / 10], -1)
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def written(body: bytes, settings: ShardConfig = NEEDED) -> bytes:
    return sample_jpeg(body, DecodeConfig(), settings)


def drawn(body: bytes) -> Image.Image:
    return decode(body, max_pixels=10**8)


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return exif


@pytest.mark.parametrize("options", [{"quality": 40}, {"progressive": True}])
def test_a_jpeg_that_needs_no_change_keeps_its_pixels(options: dict[str, Any]) -> None:
    plain = encoded(scene(90, 64), **options)
    body = encoded(scene(90, 64), exif=b"Exif\0\0of a camera", comment=b"mine", **options)
    assert written(body + b"more") == written(plain) == plain
    assert drawn(written(body)).tobytes() == drawn(body).tobytes()
    assert written(body, ALWAYS) == encoded(drawn(body), quality=95) != plain


@pytest.mark.parametrize(
    ("body", "size"),
    [
        (encoded(scene(90, 65)), (89, 64)),
        (encoded(scene(64, 90), exif=turned()), (90, 64)),
        (encoded(scene(90, 64).convert("L")), (90, 64)),
        (encoded(scene(90, 64).convert("CMYK")), (90, 64)),
        (encoded(scene(90, 64), "PNG"), (90, 64)),
        (encoded(scene(90, 64))[:-2], (90, 64)),
    ],
    ids=["large", "turned", "grey", "CMYK", "PNG", "no end mark"],
)
def test_any_other_image_is_encoded(body: bytes, size: tuple[int, int]) -> None:
    jpg = written(body)
    assert jpg == written(body, ALWAYS) == encoded_jpeg(drawn(body), size, 95)
    with Image.open(io.BytesIO(jpg)) as image:
        assert (image.mode, image.size, image.format) == ("RGB", size, "JPEG")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(404, 258), (403, 257), (1304, 520), (128, 704)])
def test_a_large_image_is_shrunk_to_its_size_as_from_the_whole_or_nearly(
    kind: str, size: tuple[int, int]
) -> None:
    body = encoded(scene(*size), kind)
    found, whole = drawn(written(body)), drawn(body)
    wanted = fitted_size(*size, 64)
    assert found.size == wanted
    exact = drawn(encoded_jpeg(whole, wanted, 95))
    assert max(ImageStat.Stat(ImageChops.difference(found, exact)).mean) < 1.5


def test_an_image_that_cannot_be_decoded_is_an_error() -> None:
    body = encoded(scene(90, 65))
    with pytest.raises(DecodeError, match="truncated_image"):
        written(body[: len(body) // 2])
    with pytest.raises(DecodeError, match="too_many_pixels"):
        sample_jpeg(encoded(scene(64, 64)), DecodeConfig(max_pixels=64 * 63), NEEDED)
