"""The image of a sample: a fetched JPEG with its own coded pixels, or one that is encoded."""

import io
from functools import partial

from PIL import Image

from filters.bare_jpeg import kept_jpeg
from filters.face_blur import NO_BLUR, FaceBlur
from pipelines.runtime.images import decode_image, decode_image_scaled, in_time
from schemas.recipe import DecodeConfig, ShardConfig

JPEG_MAX_PX = 65_500  # a side; libjpeg's JPEG_MAX_DIMENSION


def fitted_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Return the (width, height) in px of an image shrunk to `short_side`; never enlarged.

    An image with a side over `JPEG_MAX_PX` is shrunk until it fits.

    >>> fitted_size(1000, 600, 300), fitted_size(200, 100, 300), fitted_size(70_000, 80, 300)
    ((500, 300), (200, 100), (65500, 75))
    """
    scale = min(1, short_side / min(width, height), JPEG_MAX_PX / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def sample_jpeg(
    body: bytes, decode: DecodeConfig, settings: ShardConfig, blur: FaceBlur = NO_BLUR
) -> bytes:
    """Return a fetched image as the JPEG bytes of a shard, with blurred faces.

    A JPEG that needs no change keeps its coded pixels, see `kept_jpeg`. `measure` has decoded it,
    and its bytes are those that were measured, so it is not decoded again.

    Raises:
        DecodeError: the image cannot be used.
    """
    if blur:
        return jpeg(blur(decode_image(body, decode)), settings)
    if settings.reencode == "needed":
        keep = partial(kept_jpeg, fits=partial(_fits, settings.short_side))
        if kept := in_time(body, decode, keep):
            return kept
    ample = partial(_is_ample, settings.short_side)
    scaled = decode_image_scaled(body, decode, ample)
    size = fitted_size(scaled.width, scaled.height, settings.short_side)
    return encoded_jpeg(scaled.image, size, settings.jpeg_quality, scaled.box)


def jpeg(image: Image.Image, settings: ShardConfig) -> bytes:
    """Return an image as the JPEG bytes of a shard."""
    return encoded_jpeg(image, fitted_size(*image.size, settings.short_side), settings.jpeg_quality)


def encoded_jpeg(
    image: Image.Image,
    size: tuple[int, int],
    quality: int,
    box: tuple[float, float, float, float] | None = None,
) -> bytes:
    """Return an image, or the part of it in a box, as JPEG bytes at a size in px."""
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS, box)
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=quality)
    return encoded.getvalue()


def _fits(short_side: int, width: int, height: int) -> bool:
    return fitted_size(width, height, short_side) == (width, height)


def _is_ample(short_side: int, width: int, height: int) -> bool:
    """Whether a scaled image is twice as large as it is to be, or more.

    Then LANCZOS decides how it looks: the difference is below that of encoding, mostly by far.
    """
    return min(width, height) >= 2 * short_side
