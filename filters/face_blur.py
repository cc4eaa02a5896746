"""Blurring of faces, so that a person is not recognised and a picture stays a picture.

As in the blurred ImageNet (arXiv 2103.06191), each box is enlarged and its blur fades out at the
edge. Here a face becomes CELLS x CELLS mean colours, so nothing finer is left to be restored.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw, ImageFilter

CELLS: Final = 4  # colours across a face, and down it
FADE: Final = 0.06  # of an enlarged face's shorter side: how far its blur fades out
SMALL: Final = 16  # px; a face this narrow is blurred in all of its box

Box = tuple[float, ...]
"""Left, top, right and bottom as shares of width and height; what follows is not read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FaceBlur:
    """Blurs the faces of one image.

    Args:
        boxes: of the faces.
        margin: added on each side of a box, as a share of its width or height.
    """

    boxes: tuple[Box, ...] = ()
    margin: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.boxes)

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return a copy with blurred faces, or the image itself if it has none."""
        if not self.boxes:
            return image
        blurred = image.copy()
        for box in self.boxes:
            _blur(blurred, pixel_box(box, image.size, self.margin))
        return blurred


NO_BLUR: Final = FaceBlur()


def pixel_box(
    box: Sequence[float], size: tuple[int, int], margin: float
) -> tuple[int, int, int, int]:
    """Return an enlarged box in px, whole pixels within the image, at least one.

    >>> pixel_box((0.4, 0.4, 0.6, 0.6), (100, 50), margin=0.5)
    (30, 15, 70, 35)
    """
    left, top, right, bottom = box[:4]
    width, height = size
    across, down = (right - left) * margin, (bottom - top) * margin
    x = min(max(0, int((left - across) * width)), width - 1)
    y = min(max(0, int((top - down) * height)), height - 1)
    far_x = max(x + 1, min(width, math.ceil((right + across) * width)))
    far_y = max(y + 1, min(height, math.ceil((bottom + down) * height)))
    return x, y, far_x, far_y


def _blur(image: Image.Image, box: tuple[int, int, int, int]) -> None:
    """Replace an ellipse in a box, in px, by few colours."""
    face = image.crop(box)
    coarse = face.resize((CELLS, CELLS), Image.Resampling.BOX)
    coarse = coarse.resize(face.size, Image.Resampling.BICUBIC)
    image.paste(coarse, box, _ellipse(face.size))


def _ellipse(size: tuple[int, int]) -> Image.Image:
    """Return a mask of an ellipse that fades out at its edge; all of it if it is small."""
    width, height = size
    if min(size) < SMALL:
        return Image.new("L", size, 255)
    mask = Image.new("L", size, 0)
    fade = FADE * min(size)
    ImageDraw.Draw(mask).ellipse((fade, fade, width - 1 - fade, height - 1 - fade), fill=255)
    return mask.filter(ImageFilter.GaussianBlur(fade / 2))
