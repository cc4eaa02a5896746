"""Conversion of every pixel format that Pillow can load to 8-bit sRGB on a plain background."""

from contextlib import suppress
from io import BytesIO
from typing import Any, Literal, cast

import numpy as np
from PIL import Image, ImageCms

_SPACES = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK"}  # bytes 16 to 19 of an ICC profile
_OPAQUE = {"1": "L", "L": "L", "LA": "L", "CMYK": "CMYK", "LAB": "LAB"}  # anything else: RGB


def to_srgb(image: Image.Image, background: str) -> Image.Image:
    """Return a new RGB image in sRGB, transparent pixels mixed with `background`.

    - 16-bit grey is scaled, 257 levels to one. Pillow itself keeps the high byte of 16-bit RGB.
    - 32-bit integers are read as 16-bit grey and floats as 0..1.
    - CIELAB and images with an ICC profile are converted perceptually by LittleCMS. A broken
      profile, or one for another colour space than the pixels, is ignored, as in browsers; so is a
      profile that changes no colour by more than 1 of 255 (saves 25 to 60 ms per megapixel).
    - Without a profile, RGB is sRGB, and CMYK is converted by Pillow's formula.
    - Transparency is a channel, a palette entry or a colour key.

    Raises:
        NotImplementedError: if integer or float samples are outside the ranges above.
    """
    shallow = _eight_bit(image) if image.mode[0] in "IF" else image
    opaque, alpha = _split_alpha(shallow)
    rgb = _convert(opaque, image.info.get("icc_profile"))
    rgb.info.clear()
    if alpha is None:
        return rgb
    return Image.composite(rgb, Image.new("RGB", rgb.size, background), alpha)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Return mode L (LA with a colour key) for modes I;16, I;16B, I;16L, I and F."""
    samples = np.asarray(image)
    top = 1 if image.mode == "F" else 65535
    if not (samples.min() >= 0 and samples.max() <= top):  # in this form NaN fails too
        raise NotImplementedError(f"mode {image.mode} with samples outside 0..{top}")
    grey = Image.fromarray(np.rint(samples * (255 / top)).astype(np.uint8))
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey.putalpha(Image.fromarray(np.where(samples == key, 0, 255).astype(np.uint8)))
    return grey


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return the colours as mode L, RGB, CMYK or LAB, and the opacity as mode L if any."""
    mode = _OPAQUE.get(image.mode, "RGB")
    if not image.has_transparency_data:
        return image.convert(mode), None
    straight = image.convert("LA" if mode == "L" else "RGBA")
    return straight.convert(mode), straight.getchannel("A")


def _convert(opaque: Image.Image, profile: bytes | None) -> Image.Image:
    if opaque.mode == "LAB":
        return _transform(opaque, _built_in("LAB"))
    if profile and profile[16:20] == _SPACES[opaque.mode]:
        with suppress(ImageCms.PyCMSError, OSError):
            return _transform(opaque, ImageCms.ImageCmsProfile(BytesIO(profile)))
    return opaque.convert("RGB")


def _built_in(space: Literal["LAB", "sRGB"]) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(
        cast(Any, ImageCms.createProfile(space))  # pyright: ignore[reportUnknownMemberType]
    )


def _transform(opaque: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    transform = ImageCms.buildTransform(profile, _built_in("sRGB"), opaque.mode, "RGB")
    if opaque.mode == "RGB" and _changes_nothing(transform):
        return opaque
    return opaque.point(transform)


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Return whether 4,096 colours all stay within 1 level; most profiles are sRGB itself."""
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(64, 64, 3)
    after = np.asarray(Image.fromarray(cube).point(transform))
    return bool(np.abs(after.astype(np.int16) - cube).max() <= 1)
