"""Images with alpha as things: what is opaque, where it stands, how it is put on another image."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from filters.edits.colours import Colour
from filters.edits.edit_type import Given, NotFitting, Other
from filters.edits.measures import Levels, deviation, largest, levels, small_size
from filters.edits.naming import label, named
from filters.edits.places import Box

WHITE: Final = (255, 255, 255)
_OPAQUE: Final = 128  # alpha, 0..255
_LEAST_OBJECT: Final = 32  # px; shorter sides are too small to be recognised
_LEAST_PICTURE: Final = 64  # px; of a side
_LEAST_APART: Final = 40  # levels, in a channel; of a pixel that is seen on a colour
_LEAST_SEEN: Final = 0.5  # of the opaque pixels that are seen
_EVERY: Final = 4  # of so many opaque pixels one is compared with colours
_TRANSPARENT: Final = (0.1, 0.95)  # share of the pixels, of an image with a background
_MOST_HALF: Final = 0.12  # of the pixels that are not clear; edges have some
_LEAST_AROUND: Final = 0.9  # of the transparent pixels that reach the border


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """An image that can be put in, without its empty border."""

    index: int  # of the list that was given
    image: Image.Image  # RGBA
    title: str


def on_colour(image: Image.Image, colour: Colour) -> Image.Image:
    """Return an image on a colour, RGB; the same pixels as `filters.colour.to_srgb` returns."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    flat = Image.new("RGB", image.size, colour)
    flat.paste(image, (0, 0), image)
    return flat


def check_background(given: Given) -> None:
    """Check that an image has a transparent background around something that is seen on white.

    Raises:
        NotFitting: it has none, or holes that would count as background too.
    """
    if given.image.mode != "RGBA":
        raise NotFitting("the image has no alpha, so that its background is not known")
    clear = ~_opaque(given.image)
    share = float(clear.mean())
    if not _TRANSPARENT[0] <= share <= _TRANSPARENT[1]:
        raise NotFitting(f"{share:.1%} of the image is transparent; expected 10 % to 95 %")
    if _reaching_border(clear) < _LEAST_AROUND * clear.sum():
        raise NotFitting("the image has large holes, which are no background")
    alpha = np.asarray(given.image.getchannel("A"))
    half = np.count_nonzero((alpha > 32) & (alpha < 224))
    if half > _MOST_HALF * np.count_nonzero(alpha > 32):
        raise NotFitting("the image is half transparent, so that a background would shine through")
    if seen_on(opaque_pixels(given.image), WHITE) < _LEAST_SEEN:
        raise NotFitting("the image is hardly seen on white")


def opaque_pixels(image: Image.Image) -> Levels:
    """Return a sample of the opaque pixels of an RGBA image: (pixels, 3), 0..255."""
    return levels(image.convert("RGB"))[0][_opaque(image)][::_EVERY]


def seen_on(pixels: Levels, colour: Colour) -> float:
    """Return the share of pixels that are seen on a colour, 0..1."""
    if not pixels.size:
        return 0.0
    apart = largest(np.abs(pixels - np.array(colour, np.float32)))
    return float((apart >= _LEAST_APART).mean())


def things(given: Given) -> list[Thing]:
    """Return the other images that can be put in and named."""
    return [thing for other in given.others if (thing := thing_of(other))]


def pictures(given: Given) -> list[Other]:
    """Return the other images that fill their frame and can be named."""
    return [other for other in given.others if label(other.title) and _fills(other.image)]


def scaled(thing: Image.Image, within: int) -> Image.Image:
    """Resize an RGBA image so that its longer side is `within` px."""
    scale = within / max(thing.size)
    width, height = (max(1, round(side * scale)) for side in thing.size)
    # Premultiplied, or colours of transparent pixels would bleed into the edges.
    return thing.convert("RGBa").resize((width, height), Image.Resampling.LANCZOS).convert("RGBA")


def put(base: Image.Image, thing: Image.Image, box: Box) -> Image.Image:
    """Return an RGB image with an RGBA image at the top left of a box."""
    composed = base.copy()
    composed.paste(thing, box[:2], thing)
    return composed


def seen_at(base: Image.Image, thing: Image.Image, box: Box) -> float:
    """Return the share of the opaque pixels of a thing that differ from what they cover, 0..1."""
    under = np.asarray(base.crop(box), np.int16)
    over = np.asarray(thing)
    opaque = over[..., 3] >= _OPAQUE
    if not opaque.any():
        return 0.0
    apart = np.abs(over[..., :3].astype(np.int16) - under).max(axis=2)[opaque]
    return float((apart >= _LEAST_APART).mean())


def is_seen_at(base: Image.Image, thing: Image.Image, box: Box) -> bool:
    """Return whether most of a thing is seen on what it covers."""
    return seen_at(base, thing, box) >= _LEAST_SEEN


def thing_of(other: Other) -> Thing | None:
    """Cut the empty border off; None where no thing stands on a transparent background."""
    if named(other.title) is None or other.image.mode != "RGBA":
        return None
    box = other.image.getchannel("A").point([0] * _OPAQUE + [255] * (256 - _OPAQUE)).getbbox()
    if box is None or min(box[2] - box[0], box[3] - box[1]) < _LEAST_OBJECT:
        return None
    image = other.image.crop(box)
    clear = ~_opaque(image)
    if not 0.03 <= float(clear.mean()) <= 0.8 or _reaching_border(clear) < 0.5 * clear.sum():
        return None  # a rectangle, thin lines, or an outline that shows what lies behind it
    return Thing(index=other.index, image=image, title=other.title)


def _fills(image: Image.Image) -> bool:
    """Return whether an image has hardly a transparent pixel, and more than one colour."""
    if min(image.size) < _LEAST_PICTURE:
        return False
    if image.mode == "RGBA" and float(_opaque(image).mean()) < 0.99:
        return False
    return deviation(levels(image.convert("RGB"))[0]) > 20


def _opaque(image: Image.Image) -> NDArray[np.bool_]:
    small = image.getchannel("A").resize(small_size(image), Image.Resampling.BOX)
    return np.asarray(small) >= _OPAQUE


def _reaching_border(clear: NDArray[np.bool_]) -> int:
    """Count the pixels of the parts that touch the border."""
    # Here, because it is slow to import; without stubs.
    ndimage: Any = import_module("scipy.ndimage")
    framed = np.pad(clear, 1, constant_values=True)
    parts: NDArray[np.int32] = ndimage.label(framed)[0]
    return int((parts == parts[0, 0]).sum()) - 2 * (sum(clear.shape) + 2)
