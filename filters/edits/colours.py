"""Colours by name: those that are drawn with, and the name of one that was found."""

import colorsys
from collections.abc import Mapping
from typing import Final, TypeAlias

import numpy as np

from filters.edits.measures import Levels, chroma

Colour: TypeAlias = tuple[int, int, int]  # RGB, 0..255

COLOURS: Final[Mapping[str, Colour]] = {
    "black": (0, 0, 0),
    "dark grey": (72, 72, 72),
    "light grey": (205, 205, 205),
    "red": (214, 40, 40),
    "orange": (244, 130, 30),
    "yellow": (250, 214, 40),
    "light yellow": (255, 245, 170),
    "green": (40, 150, 60),
    "light green": (180, 230, 170),
    "dark green": (15, 80, 45),
    "turquoise": (50, 195, 190),
    "light blue": (165, 210, 245),
    "blue": (40, 90, 210),
    "dark blue": (20, 35, 95),
    "purple": (125, 50, 165),
    "pink": (250, 150, 190),
    "brown": (120, 75, 40),
    "beige": (236, 222, 190),
    "white": (255, 255, 255),
}

_HUES: Final = (
    (15, "red"),
    (42, "orange"),
    (70, "yellow"),
    (160, "green"),
    (198, "turquoise"),
    (258, "blue"),
    (290, "purple"),
    (335, "pink"),
    (360, "red"),
)
_LEAST_CHROMA: Final = 40  # levels
_BINS: Final = 24  # of hues


def distance(a: Colour, b: Colour) -> float:
    """Return the distance of two colours as the eye weighs it, 0..765.

    Source: the "redmean" formula of Riemersma, "Colour metric", compuphase.com.
    """
    red = (a[0] + b[0]) / 2
    weights = (2 + red / 256, 4, 2 + (255 - red) / 256)
    return sum(w * (x - y) ** 2 for w, x, y in zip(weights, a, b, strict=True)) ** 0.5


def name_of(colour: Colour) -> str:
    """Return the name of a colour that is not grey.

    >>> name_of((250, 20, 20)), name_of((110, 60, 20)), name_of((170, 200, 250))
    ('red', 'brown', 'light blue')
    >>> name_of((200, 140, 120)), name_of((110, 70, 60)), name_of((110, 105, 30))
    ('light brown', 'brown', 'olive green')
    """
    hue, saturation, value = colorsys.rgb_to_hsv(*(level / 255 for level in colour))
    name = next(name for end, name in _HUES if hue * 360 <= end)
    if name in ("red", "orange") and hue < 0.5:  # not a red next to pink
        if value < 0.72 and (name == "orange" or saturation < 0.7):
            return "brown"
        if saturation < 0.6 and value < 0.9:
            return "light brown"
        if saturation < 0.45:
            return "pink" if name == "red" else "beige"
    if name == "red" and saturation < 0.55 and value > 0.75:
        return "pink"
    if name == "yellow" and value < 0.65:
        return "olive green"
    if name == "pink" and value < 0.7:
        return "purple"
    if value < 0.45:
        return f"dark {name}"
    return f"light {name}" if saturation < 0.45 and value > 0.75 else name


def main_colour(rgb: Levels) -> Colour | None:
    """Return the mean of the most colourful pixels of one hue; None of a grey image."""
    flat = rgb.reshape(-1, 3)
    strength = chroma(flat)
    coloured = strength >= _LEAST_CHROMA
    if not coloured.any():
        return None
    flat, strength = flat[coloured], strength[coloured]
    red, green, blue = flat.T
    angle = np.arctan2(3**0.5 / 2 * (green - blue), red - (green + blue) / 2)
    bins = ((angle / (2 * np.pi) + 1) % 1 * _BINS).astype(np.int64) % _BINS
    sums = np.bincount(bins, strength, _BINS)
    around = sums + np.roll(sums, 1) + np.roll(sums, -1)
    near = np.abs((bins - int(around.argmax()) + _BINS // 2) % _BINS - _BINS // 2) <= 1
    mean = np.average(flat[near], axis=0, weights=strength[near])
    return round(float(mean[0])), round(float(mean[1])), round(float(mean[2]))
