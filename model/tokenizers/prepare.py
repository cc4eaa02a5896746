"""From a decoded image to what a tokenizer reads: crop to size, then scale to [-1, 1]."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image


def cover_crop(image: Image.Image, height: int, width: int) -> NDArray[np.uint8]:
    """Resize an RGB image until it just covers the target, then cut out the centre.

    The size rules are those of Infinity's training data (`transform` in
    dataset_t2i_iterable.py): LANCZOS, the longer side truncated to whole pixels, crop offsets
    rounded down. Images smaller than the target are enlarged. Memory grows with the aspect
    ratio: the whole covering image is made before the crop.

    Returns:
        uint8 [height, width, 3].

    Raises:
        ValueError: the image is not RGB.
    """
    if image.mode != "RGB":
        raise ValueError(f"expected an RGB image, got mode {image.mode!r}")
    covering = image.resize(cover_size(image.size, height, width), Image.Resampling.LANCZOS)
    left = (covering.width - width) // 2
    top = (covering.height - height) // 2
    return np.asarray(covering.crop((left, top, left + width, top + height)))


def cover_size(size: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """Return the smallest (width, height) of this image's shape that covers the target.

    Where rounding would leave the longer side one pixel short of the target, as it does for an
    image and a target of 1 x 93, that side is held at the target.

    >>> cover_size((503, 301), 256, 256)
    (427, 256)
    """
    image_width, image_height = size
    if image_width / image_height <= width / height:
        return width, max(height, int(width / (image_width / image_height)))
    return max(width, int(height * (image_width / image_height))), height


def to_model_input(images_NHWC: NDArray[np.uint8]) -> torch.Tensor:
    """Return float32 [N, 3, H, W] in [-1, 1] of uint8 [N, H, W, 3] images.

    The arithmetic is that of the reference tokenizers (x / 255, then x + x - 1, in float32), so
    the result is the same to the last bit.

    Raises:
        ValueError: another shape or dtype.
    """
    if images_NHWC.dtype != np.uint8 or images_NHWC.ndim != 4 or images_NHWC.shape[3] != 3:
        raise ValueError(
            f"expected uint8 [N, H, W, 3], got {images_NHWC.dtype} {list(images_NHWC.shape)}"
        )
    unit = np.ascontiguousarray(images_NHWC.transpose(0, 3, 1, 2)).astype(np.float32) / 255
    return torch.from_numpy(unit + unit - 1)
