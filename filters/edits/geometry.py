"""Edits of where things stand: flip, rotate, tilt, crop, zoom."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from filters.edits.edit_type import (
    Draws,
    EditBase,
    Given,
    Inverse,
    Made,
    NotFitting,
    Strength,
    Wording,
)
from filters.edits.measures import Measure, area_percent, deviation, grey, levels, unlike_percent
from filters.edits.places import PLACES, SPOTS, Box, Place, box_at

_FLIPS: Final = {
    "horizontal": Image.Transpose.FLIP_LEFT_RIGHT,
    "vertical": Image.Transpose.FLIP_TOP_BOTTOM,
}
_TURNS: Final = {  # clockwise; Pillow counts the other way
    90: Image.Transpose.ROTATE_270,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}
_TILTS: Final = (-30, -20, -15, -10, 10, 15, 20, 30)
_EVEN: Final = 12  # levels; a border that stays within them is of one colour
_ON_BACKGROUND: Final = 24  # levels; a pixel farther from the border's colour is of the content
_LEAST_DEVIATION: Final = 20  # levels; of the luminance of a part that shows something
_LEAST_SIDE: Final = 64  # px; of what is cut out
_MOST_SHOWN: Final = 4  # places to zoom in on that may be drawn, those that show most
_HALVES: Final = ("left", "right", "top", "bottom")
_SHAPE: Final = Measure(meaning="100 less the correlation, percent", least=12, of=unlike_percent)


@dataclass(frozen=True, kw_only=True, slots=True)
class Flip(EditBase):
    """Mirror an image."""

    name: ClassVar[str] = "flip"
    inverse: ClassVar[Inverse] = "computed"
    measure: ClassVar[Measure] = _SHAPE
    axis: str  # horizontal or vertical

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw the axis."""
        return cls(axis=draws.pick("axis", tuple(_FLIPS)))

    def make(self, given: Given) -> Made:
        """Transpose the pixels."""
        return Made(source=given.flat, target=given.flat.transpose(_FLIPS[self.axis]))

    def words(self) -> tuple[Wording, Wording]:
        """Both directions are one."""
        return Wording(group=self.axis, values={}), Wording(group=self.axis, values={})


@dataclass(frozen=True, kw_only=True, slots=True)
class Rotate(EditBase):
    """Turn an image by quarters; with one or three its sides change places."""

    name: ClassVar[str] = "rotate"
    inverse: ClassVar[Inverse] = "computed"
    measure: ClassVar[Measure] = _SHAPE
    degrees: int  # clockwise: 90, 180 or 270

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw the angle."""
        return cls(degrees=draws.pick("degrees", tuple(_TURNS)))

    def make(self, given: Given) -> Made:
        """Transpose the pixels."""
        return Made(source=given.flat, target=given.flat.transpose(_TURNS[self.degrees]))

    def words(self) -> tuple[Wording, Wording]:
        """Say a quarter in one direction, then in the other; half a turn is its own way back."""
        groups = {90: "clockwise", 180: "half", 270: "anticlockwise"}
        there, back = groups[self.degrees], groups[360 - self.degrees]
        return Wording(group=there, values={}), Wording(group=back, values={})


@dataclass(frozen=True, kw_only=True, slots=True)
class Tilt(EditBase):
    """Turn what stands on a plain background by a few degrees."""

    name: ClassVar[str] = "tilt"
    inverse: ClassVar[Inverse] = "computed"
    measure: ClassVar[Measure] = Measure(meaning=_SHAPE.meaning, least=8, of=unlike_percent)
    degrees: int  # clockwise, -30..30
    background: list[int]  # RGB

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw an angle at which all of the content stays within the frame."""
        rgb = levels(given.flat)[0]
        border = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]])
        middle = np.median(border, axis=0)
        if (np.abs(border - middle).max(axis=1) > _EVEN).mean() > 0.01:
            raise NotFitting("the border is not of one colour, so that corners would show")
        rows, columns = np.nonzero(np.abs(rgb - middle).max(axis=2) > _ON_BACKGROUND)
        background = [round(float(level)) for level in middle]
        height, width = rgb.shape[:2]
        for degrees in draws.shuffled("degrees", _TILTS):
            if _stays(columns - (width - 1) / 2, rows - (height - 1) / 2, (width, height), degrees):
                return cls(degrees=degrees, background=background)
        raise NotFitting("the content would leave the frame")

    def make(self, given: Given) -> Made:
        """Turn around the centre."""
        target = given.flat.rotate(
            -self.degrees,
            resample=Image.Resampling.BICUBIC,
            fillcolor=(self.background[0], self.background[1], self.background[2]),
        )
        return Made(source=given.flat, target=target)

    def words(self) -> tuple[Wording, Wording]:
        """Say the angle and the direction."""
        directions = ["clockwise", "anticlockwise"]
        there, back = directions if self.degrees > 0 else reversed(directions)
        angle = str(abs(self.degrees))
        return (
            Wording(group="edit", values={"degrees": angle, "direction": there}),
            Wording(group="edit", values={"degrees": angle, "direction": back}),
        )


def _stays(
    across: NDArray[np.float64], down: NDArray[np.float64], size: tuple[int, int], degrees: int
) -> bool:
    """Return whether pixels, given from the centre, are within the frame after a turn."""
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    turned_across = np.abs(across * cosine - down * sine)
    turned_down = np.abs(across * sine + down * cosine)
    return bool((turned_across <= size[0] / 2).all() and (turned_down <= size[1] / 2).all())


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop(EditBase):
    """Keep half of an image, a quarter or its middle; the target is smaller."""

    name: ClassVar[str] = "crop"
    measure: ClassVar[Measure] = Measure(
        meaning="area that is cut off, percent", least=40, of=area_percent
    )
    part: Place  # left, right, top or bottom half; a corner; centre

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw a part that shows something and leaves something away."""
        grey_levels = grey(levels(given.flat)[0])
        height, width = grey_levels.shape
        for part in draws.shuffled("part", PLACES):
            left, top, right, bottom = _part(part, (given.flat.width, given.flat.height))
            if min(right - left, bottom - top) < _LEAST_SIDE:
                continue
            left, top, right, bottom = _part(part, (width, height))
            outside = np.ones((height, width), np.bool_)
            outside[top:bottom, left:right] = False
            parts = grey_levels[~outside], grey_levels[outside]
            if min(deviation(each) for each in parts) >= _LEAST_DEVIATION:
                return cls(part=part)
        raise NotFitting(
            f"no part of at least {_LEAST_SIDE} px shows something and leaves something away"
        )

    def make(self, given: Given) -> Made:
        """Cut out the part."""
        return Made(source=given.flat, target=given.flat.crop(_part(self.part, given.flat.size)))

    def words(self) -> tuple[Wording, Wording]:
        """Name the part, and on the way back the sides where the rest stood."""
        sides, size = _MISSING[self.part]
        values = {"part": _PART_NAMES[self.part], "sides": sides, "size": size}
        return Wording(group="edit", values=values), Wording(group="inverse", values=values)


_PART_NAMES: Final[Mapping[str, str]] = {
    **{half: f"{half} half" for half in _HALVES},
    **{place: f"{place} quarter" for place in PLACES if " " in place},
    "centre": "central part",
}
# On the way back: where the rest stood, and how large it all becomes.
_MISSING: Final[Mapping[Place, tuple[str, str]]] = {
    "left": ("to the right", "twice its width"),
    "right": ("to the left", "twice its width"),
    "top": ("downwards", "twice its height"),
    "bottom": ("upwards", "twice its height"),
    "top left": ("to the right and downwards", "twice its width and height"),
    "top right": ("to the left and downwards", "twice its width and height"),
    "bottom left": ("to the right and upwards", "twice its width and height"),
    "bottom right": ("to the left and upwards", "twice its width and height"),
    "centre": ("on all four sides", "twice its width and height"),
}


def _part(part: Place, size: tuple[int, int]) -> Box:
    """Return the box of a part of an image, in px."""
    width, height = size
    halves = max(1, width // 2), max(1, height // 2)
    if part in ("left", "right"):
        return box_at(part, (halves[0], height), size)
    if part in ("top", "bottom"):
        return box_at(part, (width, halves[1]), size)
    return box_at(part, halves, size)


@dataclass(frozen=True, kw_only=True, slots=True)
class Zoom(EditBase):
    """Enlarge a part of an image to the size of all of it."""

    name: ClassVar[str] = "zoom"
    measure: ClassVar[Measure] = _SHAPE
    factor: float
    place: Place
    strength: Strength

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw a factor, and a place that shows something."""
        strength: Strength = draws.pick("strength", tuple(_ZOOMS))
        factor = _ZOOMS[strength]
        grey_levels = grey(levels(given.flat)[0])
        height, width = grey_levels.shape
        if min(given.flat.size) / factor < _LEAST_SIDE:
            raise NotFitting(f"enlarged {factor:g} times, less than {_LEAST_SIDE} px would be left")
        size = round(width / factor), round(height / factor)
        shown: dict[Place, float] = {}
        for place in PLACES:
            left, top, right, bottom = box_at(place, size, (width, height))
            shown[place] = deviation(grey_levels[top:bottom, left:right])
        most = sorted(PLACES, key=shown.__getitem__)[-_MOST_SHOWN:]
        found = [place for place in PLACES if place in most and shown[place] >= _LEAST_DEVIATION]
        if found:
            return cls(factor=factor, place=draws.pick("place", found), strength=strength)
        raise NotFitting("no part shows enough to enlarge it")

    def make(self, given: Given) -> Made:
        """Resize the part."""
        width, height = given.flat.size
        size = max(1, round(width / self.factor)), max(1, round(height / self.factor))
        part = given.flat.crop(box_at(self.place, size, given.flat.size))
        target = part.resize(given.flat.size, Image.Resampling.LANCZOS)
        return Made(source=given.flat, target=target)

    def words(self) -> tuple[Wording, Wording]:
        """Name the place and the factor."""
        factor = f"{self.factor:g}"
        values = {"place": SPOTS[self.place].part, "factor": factor}
        return (
            Wording(group="edit", values=values, strength=self.strength),
            Wording(group="inverse", values=values, strength=self.strength),
        )


_ZOOMS: Final[Mapping[Strength, float]] = {"slight": 1.5, "plain": 2, "strong": 3}
