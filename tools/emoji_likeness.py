"""A scorer that compares images with the real emoji: `--scorer emoji_likeness:likeness`.

For `make proof`, which has no CLIP. It measures the similarity of colours and layout, not the
quality of a picture.
"""

import json
from collections.abc import Sequence
from functools import cache

import numpy as np
from fluent_emoji import UNPACKED
from PIL import Image

THUMBNAIL = (16, 16)  # px


def likeness(images: Sequence[Image.Image], prompts: Sequence[str]) -> list[float]:
    """Score images by the mean difference between their thumbnails and the real emoji's.

    Args:
        images: RGB.
        prompts: labels of Fluent Emoji, from `python tools/fluent_emoji.py list`.

    Returns:
        1 minus the mean absolute difference of the RGB values in 0 to 1; 1.0 for equal images.

    Raises:
        KeyError: no emoji has this label.
    """
    return [
        1.0 - float(np.abs(_thumbnail(image) - _real(prompt)).mean())
        for image, prompt in zip(images, prompts, strict=True)
    ]


@cache
def _real(title: str) -> np.ndarray:
    with Image.open(UNPACKED / _paths()[title]) as emoji:
        rgba = emoji.convert("RGBA")
    return _thumbnail(Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba))


@cache
def _paths() -> dict[str, str]:
    rows = map(json.loads, (UNPACKED / "fluent-emoji.jsonl").read_text().splitlines())
    return {row["title"]: row["path"] for row in rows}


def _thumbnail(image: Image.Image) -> np.ndarray:
    small = image.convert("RGB").resize(THUMBNAIL, Image.Resampling.BOX)
    return np.asarray(small, np.float64) / 255
