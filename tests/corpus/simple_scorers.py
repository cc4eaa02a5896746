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
