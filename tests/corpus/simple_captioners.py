"""Captioners that need no model."""

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


def refusals(images: Sequence[Image], prompts: Sequence[str]) -> list[str]:
    """Refuse each image."""
    SEEN.extend(prompts)
    return ["I'm sorry, but I cannot help with that."] * len(images)


def wrong(images: Sequence[Image], prompts: Sequence[str]) -> list[str]:
    """Return too few texts."""
    return ["one"] * (len(images) - 1)
