"""Scorers that need no weights, for tests: MODULE:NAME as a user would name their own."""

from collections.abc import Sequence

import numpy as np
from PIL.Image import Image


def brightness(images: Sequence[Image], prompts: Sequence[str]) -> list[float]:
    """Score images by their mean brightness, 0 to 1."""
    return [float(np.asarray(image.convert("L")).mean()) / 255 for image in images]


def nothing(images: Sequence[Image], prompts: Sequence[str]) -> list[float]:
    """Fail to score what a prompt about fog shows."""
    return [float("nan") if "fog" in prompt else 0.5 for prompt in prompts]


SEEN: list[str] = []  # the texts of the images that `widths` scored


def widths(images: Sequence[Image], prompts: Sequence[str]) -> list[float]:
    """Score images by their width, in px, and note what was scored."""
    SEEN.extend(prompts)
    return [float(image.width) for image in images]


REFUSED = ["fog"]  # words of which `picky` makes an error


def picky(images: Sequence[Image], prompts: Sequence[str]) -> list[float]:
    """Fail on a batch that has a prompt about fog; note what was scored."""
    if any(word in prompt for prompt in prompts for word in REFUSED):
        raise ValueError("no fog, please")
    SEEN.extend(prompts)
    return [1.0 for _ in images]


def too_few(images: Sequence[Image], prompts: Sequence[str]) -> list[float]:
    """Return one score, however many images there are."""
    return [0.5]
