"""Preparation of images for a tokenizer: crop to size, then scale to [-1, 1]."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from schemas.keys import draw

MARGIN: Final = 1.125
"""Size of an image before the crop, relative to the target size. It leaves a choice of crops
(`mid_reso` in VAR, utils/arg_util.py)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CropBox:
    """The place of a crop in the resized image, all in pixels."""

    covering: tuple[int, int]  # (width, height) of the resized image
    left: int
    top: int
    width: int
    height: int


def cover_crop(image: Image.Image, height: int, width: int) -> NDArray[np.uint8]:
    """Resize an RGB image until it just covers the target, then cut out the centre.

    The rules are those of Infinity's training data (`transform` in dataset_t2i_iterable.py):
    LANCZOS, the longer side truncated to whole pixels, crop offsets rounded down. Smaller images
    are enlarged. Memory grows with the aspect ratio, because the whole image is resized before the
    crop.

    Returns:
        uint8 [height, width, 3].

    Raises:
        ValueError: the image is not RGB.
    """
    return _cut(image, _centre_box(cover_size(image.size, height, width), height, width))


def contain(
    image: Image.Image, height: int, width: int, background: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Resize an RGB image until it just fits into the target, and put it on a background.

    LANCZOS, sides rounded, at least one pixel each; the offset of the image is rounded down.
    Smaller images are enlarged.

    Args:
        image: to be resized.
        height: of the target, px.
        width: of the target, px.
        background: RGB, 0..255.

    Returns:
        uint8 [height, width, 3].

    Raises:
        ValueError: the image is not RGB.
    """
    _check_rgb(image)
    scale = min(width / image.width, height / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    whole = Image.new("RGB", (width, height), background)
    place = (width - size[0]) // 2, (height - size[1]) // 2
    whole.paste(image.resize(size, Image.Resampling.LANCZOS), place)
    return np.asarray(whole)


def cover_size(size: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """Return the smallest (width, height) with this image's aspect that covers the target.

    If rounding makes the longer side one pixel too short, as for an image and a target of 1 x 93,
    this side is set to the target.

    >>> cover_size((503, 301), 256, 256)
    (427, 256)
    """
    image_width, image_height = size
    if image_width / image_height <= width / height:
        return width, max(height, int(width / (image_width / image_height)))
    return max(width, int(height * (image_width / image_height))), height


def view_crop(
    image: Image.Image, height: int, width: int, *, key: str, view: int
) -> NDArray[np.uint8]:
    """Cut out one of a sample's views: the centre (view 0), or a random place.

    View 0 is `cover_crop`. The others are like VAR's random crops (utils/data.py), but the place
    depends on key and view alone, so every machine cuts the same. `view_box` returns the place and
    the size of the resized image.

    Returns:
        uint8 [height, width, 3].

    Raises:
        ValueError: the image is not RGB, or the view is negative.
    """
    return _cut(image, view_box(image.size, height, width, key=key, view=view))


def view_box(size: tuple[int, int], height: int, width: int, *, key: str, view: int) -> CropBox:
    """Return the crop box of a view of an image with this (width, height).

    From view 1 on, the resized image covers a target `MARGIN` times as large, and every place is
    equally likely. The relative place of a view does not depend on the target size.

    Raises:
        ValueError: the view is negative.
    """
    if view < 0:
        raise ValueError(f"expected a view of 0 or more, got {view}")
    if view == 0:
        return _centre_box(cover_size(size, height, width), height, width)
    covering = cover_size(size, round(MARGIN * height), round(MARGIN * width))
    return CropBox(
        covering=covering,
        left=draw(key, f"view {view} left", covering[0] - width + 1),
        top=draw(key, f"view {view} top", covering[1] - height + 1),
        width=width,
        height=height,
    )


def adm_centre_crop(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """Resize an RGB image to `MARGIN` times a square target, then cut out the centre, as ADM does.

    Halves the image by averaging while it stays large enough, then LANCZOS, both sides rounded,
    crop offsets rounded down (`center_crop_to_tensor_pm1` in Infinity's dataset_t2i_iterable.py,
    after OpenAI's guided-diffusion). The resized image has about the size
    `cover_size(image.size, m, m)` with m = round(MARGIN * side), less than 1 / m larger.

    Returns:
        uint8 [side, side, 3].

    Raises:
        ValueError: the image is not RGB.
    """
    _check_rgb(image)
    short_side = round(MARGIN * side)
    while min(image.size) >= 2 * short_side:
        halved = image.width // 2, image.height // 2
        image = image.resize(halved, Image.Resampling.BOX)
    scale = short_side / min(image.size)
    covering = round(image.width * scale), round(image.height * scale)
    return _cut(image, _centre_box(covering, side, side))


def var_centre_crop(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """Resize an RGB image to `MARGIN` times a square target, then cut out the centre, as VAR does.

    The crop of VAR's validation (utils/data.py): torchvision's Resize by LANCZOS, the longer side
    truncated, and CenterCrop, half a pixel rounded to the even offset. Each side of the resized
    image is within a pixel of `cover_size(image.size, m, m)` with m = round(MARGIN * side).

    Returns:
        uint8 [side, side, 3].

    Raises:
        ValueError: the image is not RGB.
    """
    short_side, shorter = round(MARGIN * side), min(image.size)
    covering = short_side * image.width // shorter, short_side * image.height // shorter
    left, top = round((covering[0] - side) / 2), round((covering[1] - side) / 2)
    return _cut(image, CropBox(covering=covering, left=left, top=top, width=side, height=side))


def to_model_input(images_NHWC: NDArray[np.uint8] | torch.Tensor) -> torch.Tensor:
    """Convert uint8 [N, H, W, 3] images to float32 [N, 3, H, W] in [-1, 1].

    The arithmetic is the reference tokenizers' (x / 255, then x + x - 1, in float32), so the result
    is the same to the last bit. A tensor stays on its device.

    Raises:
        ValueError: shape or dtype are wrong.
    """
    images = images_NHWC
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(images if images.flags.writeable else images.copy())
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] != 3:
        found = f"{str(images.dtype).removeprefix('torch.')} {list(images.shape)}"
        raise ValueError(f"expected uint8 [N, H, W, 3], got {found}")
    unit_N3HW = images.permute(0, 3, 1, 2).contiguous().float().div(255)
    return unit_N3HW.add(unit_N3HW).sub(1)


def to_pixels(images_N3HW: torch.Tensor) -> NDArray[np.uint8]:
    """Convert images in [-1, 1] to uint8 [N, H, W, 3]; values outside are clamped."""
    bytes_N3HW = images_N3HW.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return bytes_N3HW.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def _centre_box(covering: tuple[int, int], height: int, width: int) -> CropBox:
    left, top = (covering[0] - width) // 2, (covering[1] - height) // 2
    return CropBox(covering=covering, left=left, top=top, width=width, height=height)


def _cut(image: Image.Image, box: CropBox) -> NDArray[np.uint8]:
    _check_rgb(image)
    covering = image.resize(box.covering, Image.Resampling.LANCZOS)
    corners = (box.left, box.top, box.left + box.width, box.top + box.height)
    return np.asarray(covering.crop(corners))


def _check_rgb(image: Image.Image) -> None:
    if image.mode != "RGB":
        raise ValueError(f"expected an RGB image, got mode {image.mode!r}")
