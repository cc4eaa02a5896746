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
    mode = _OPAQUE.get(shallow.mode, "RGB")
    profile = image.info.get("icc_profile")
    if not shallow.has_transparency_data:
        rgb = _convert(shallow.convert(mode), profile)
        rgb.info.clear()
        return rgb
    straight = shallow.convert("LA" if mode == "L" else "RGBA")
    # Each step on a whole image takes time, so colours are separated only if they are converted.
    colours = _convert(straight.convert(mode), profile) if profile else straight
    flat = Image.new("RGB", straight.size, background)
    flat.paste(colours, (0, 0), straight)  # as opaque as `straight`
    return flat


def to_srgb_with_alpha(image: Image.Image) -> Image.Image:
    """Return a new sRGB image: RGBA if pixels may be transparent, else RGB.

    Raises:
        NotImplementedError: as `to_srgb`.
    """
    shallow = _eight_bit(image) if image.mode[0] in "IF" else image
    if not shallow.has_transparency_data:
        return to_srgb(image, "#ffffff")
    straight = shallow.convert("RGBA")
    mode, profile = _OPAQUE.get(shallow.mode, "RGB"), image.info.get("icc_profile")
    found = _convert(straight.convert(mode), profile) if profile else straight.convert("RGB")
    found.putalpha(straight.getchannel("A"))
    found.info.clear()
    return found


def is_srgb(image: Image.Image) -> bool:
    """Whether `to_srgb` leaves the pixels of an open image as they are: RGB, opaque, no profile.

    A profile that is ignored, or changes no colour by more than 1 of 255, counts as none.
    """
    if image.mode != "RGB" or image.has_transparency_data:
        return False
    return _transform_of("RGB", image.info.get("icc_profile")) is None


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


def _convert(opaque: Image.Image, profile: bytes | None) -> Image.Image:
    if opaque.mode == "LAB":
        return opaque.point(_transform(_built_in("LAB"), "LAB"))
    if transform := _transform_of(opaque.mode, profile):
        with suppress(ImageCms.PyCMSError, OSError):
            return opaque.point(transform)
    return opaque if opaque.mode == "RGB" else opaque.convert("RGB")


def _transform_of(mode: str, profile: bytes | None) -> ImageCms.ImageCmsTransform | None:
    """Return the conversion from a profile to sRGB; None if there is none that changes a colour."""
    if not profile or profile[16:20] != _SPACES[mode]:
        return None
    with suppress(ImageCms.PyCMSError, OSError):
        transform = _transform(ImageCms.ImageCmsProfile(BytesIO(profile)), mode)
        return None if mode == "RGB" and _changes_nothing(transform) else transform
    return None


def _built_in(space: Literal["LAB", "sRGB"]) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(
        cast(Any, ImageCms.createProfile(space))  # pyright: ignore[reportUnknownMemberType]
    )


def _transform(profile: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(profile, _built_in("sRGB"), mode, "RGB")


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Return whether 4,096 colours all stay within 1 level; most profiles are sRGB itself."""
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(64, 64, 3)
    after = np.asarray(Image.fromarray(cube).point(transform))
    return bool(np.abs(after.astype(np.int16) - cube).max() <= 1)
