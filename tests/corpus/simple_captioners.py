"""Captioners that need no model."""

import re
from collections.abc import Sequence

from PIL.Image import Image

SEEN: list[str] = []  # prompts


def colours(images: Sequence[Image], prompts: Sequence[str]) -> list[str]:
    """Name the mean colour of each image."""
    SEEN.extend(prompts)
    means = [image.convert("RGB").resize((1, 1)).getpixel((0, 0)) for image in images]
    return [
        f"The image shows waves around the colour {mean[0]} {mean[1]} {mean[2]}." for mean in means
    ]


def flagged(images: Sequence[Image], prompts: Sequence[str]) -> list[str]:
    """Answer questions: an image is a collage if it is rather red."""
    SEEN.extend(prompts)
    means = [image.convert("RGB").resize((1, 1)).getpixel((0, 0)) for image in images]
    said = [f'{{"collage": {str(r > b).lower()}, "frame": false}}' for r, _, b in means]
    asked = ["JSON" in prompt for prompt in prompts]
    return [
        flags if json else "Waves of colour in a grid"
        for flags, json in zip(said, asked, strict=True)
    ]


def fuses(images: Sequence[Image | None], prompts: Sequence[str]) -> list[str]:
    """Return the words of each prompt that stand in quotation marks, joined."""
    SEEN.extend(prompts)
    assert all(image is None for image in images)
    return [" and ".join(re.findall(r'"(.*?)"', prompt)) for prompt in prompts]


def refusals(images: Sequence[Image], prompts: Sequence[str]) -> list[str]:
    """Refuse each image."""
    SEEN.extend(prompts)
    return ["I'm sorry, but I cannot help with that."] * len(images)


def leaves(images: Sequence[Image], prompts: Sequence[str]) -> list[str]:
    """End the process."""
    raise SystemExit(0)


def wrong(images: Sequence[Image], prompts: Sequence[str]) -> list[str]:
    """Return too few texts."""
    return ["one"] * (len(images) - 1)


def nothing(images: Sequence[Image], prompts: Sequence[str]) -> None:
    """Return nothing."""
