"""An image that kills: with this folder on PYTHONPATH, every Python process dies of it.

VARGPT_TEST_KILLER names the images and how they kill, as JSON:
    {"sizes": [[width, height], ...], "way": one of deadly.WAYS or HANGS, "inside": function names}
A process dies when it works on an image of such a size in Pillow, while one of those functions is
on the stack of any thread, as one waits for another's decoding; an empty list means any.
"""

import json
import os
import sys

from deadly import HANGS, WAYS
from PIL import Image, PngImagePlugin

KILLER = json.loads(os.environ["VARGPT_TEST_KILLER"])
SIZES = {tuple(size) for size in KILLER["sizes"]}


def meet(image: Image.Image) -> None:
    """Die of the image, if it is one to die of here."""
    if image.size in SIZES and _is_inside():
        (WAYS | HANGS)[KILLER["way"]]()


def _is_inside() -> bool:
    names = set()
    for frame in sys._current_frames().values():
        while frame is not None:
            names.add(frame.f_code.co_name)
            frame = frame.f_back
    return not KILLER["inside"] or not names.isdisjoint(KILLER["inside"])


class DeadlyPng(PngImagePlugin.PngImageFile):
    """Dies when its pixels are read."""

    def load(self):
        meet(self)
        return super().load()


Image.register_open("PNG", DeadlyPng, PngImagePlugin._accept)
convert, save = Image.Image.convert, Image.Image.save


def deadly_convert(self, *arguments, **named):
    """Die when the image is converted, as signals do."""
    meet(self)
    return convert(self, *arguments, **named)


def deadly_save(self, *arguments, **named):
    """Die when the image is encoded."""
    meet(self)
    return save(self, *arguments, **named)


Image.Image.convert, Image.Image.save = deadly_convert, deadly_save
