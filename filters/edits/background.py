"""Edits of the background behind an image with alpha: a colour, a pattern, a picture."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from filters.edits.colours import COLOURS, distance
from filters.edits.cutouts import check_background, on_colour, opaque_pixels, pictures, seen_on
from filters.edits.edit_type import (
    Draws,
    EditBase,
    Given,
    Inverse,
    Made,
    Needs,
    NotFitting,
    Wording,
)
from filters.edits.measures import Measure, changed_percent
from filters.edits.naming import label

_BACKGROUND: Final = Measure(
    meaning="pixels that changed, percent", least=8, of=changed_percent, least_share=0.08
)
_LEAST_SEEN: Final = 0.75  # of the opaque pixels
_DRAWN: Final = tuple(name for name in COLOURS if name != "white")
_LEAST_DISTANCE: Final = 60  # of a background from white, by `distance`
_APART: Final = 220  # of two colours of a pattern


@dataclass(frozen=True, kw_only=True, slots=True)
class BackgroundColour(EditBase):
    """Replace the white behind an image by another colour."""

    name: ClassVar[str] = "background_colour"
    inverse: ClassVar[Inverse] = "kept"
    needs: ClassVar[tuple[Needs, ...]] = ("alpha",)
    measure: ClassVar[Measure] = _BACKGROUND
    colour: str  # its name
    rgb: list[int]

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw a colour on which the image is seen."""
        check_background(given)
        pixels = opaque_pixels(given.image)
        for name in draws.shuffled("colour", _DRAWN):
            rgb = COLOURS[name]
            apart = distance(rgb, (255, 255, 255)) >= _LEAST_DISTANCE
            if apart and seen_on(pixels, rgb) >= _LEAST_SEEN:
                return cls(colour=name, rgb=list(rgb))
        raise NotFitting("the image is not seen on any colour")

    def make(self, given: Given) -> Made:
        """Put the image on the colour."""
        red, green, blue = self.rgb
        return Made(source=given.flat, target=on_colour(given.image, (red, green, blue)))

    def words(self) -> tuple[Wording, Wording]:
        """Name the colour; before it was white."""
        return (
            Wording(group="edit", values={"colour": self.colour}),
            Wording(group="edit", values={"colour": "white"}),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class BackgroundPattern(EditBase):
    """Replace the white behind an image by a pattern of two colours."""

    name: ClassVar[str] = "background_pattern"
    needs: ClassVar[tuple[Needs, ...]] = ("alpha",)
    measure: ClassVar[Measure] = _BACKGROUND
    pattern: str
    first: str  # names of colours
    second: str

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw a pattern and two colours on which the image is seen."""
        check_background(given)
        pixels = opaque_pixels(given.image)
        seen = [
            name
            for name in draws.shuffled("colours", tuple(COLOURS))
            if seen_on(pixels, COLOURS[name]) >= _LEAST_SEEN
        ]
        pairs = (
            (first, second)
            for n, first in enumerate(seen)
            for second in seen[n + 1 :]
            if distance(COLOURS[first], COLOURS[second]) >= _APART
        )
        first, second = next(pairs, ("", ""))
        if not first:
            raise NotFitting("the image is not seen on any two colours")
        return cls(pattern=draws.pick("pattern", tuple(_PATTERNS)), first=first, second=second)

    def make(self, given: Given) -> Made:
        """Draw the pattern and put the image on it."""
        width, height = given.image.size
        share = _PATTERNS[self.pattern](width, height)[..., None]
        first, second = (np.array(COLOURS[name], np.float32) for name in (self.first, self.second))
        behind = np.rint(first + (second - first) * share).astype(np.uint8)
        target = Image.fromarray(np.ascontiguousarray(np.broadcast_to(behind, (height, width, 3))))
        target.paste(given.image, (0, 0), given.image)
        return Made(source=given.flat, target=target)

    def words(self) -> tuple[Wording, Wording]:
        """Describe the pattern; before it was white."""
        pattern = _DESCRIBED[self.pattern].format(first=self.first, second=self.second)
        values = {"pattern": pattern, "the_pattern": f"the {pattern.removeprefix('a ')}"}
        return Wording(group="edit", values=values), Wording(group="inverse", values=values)


@dataclass(frozen=True, kw_only=True, slots=True)
class BackgroundPicture(EditBase):
    """Replace the white behind an image by a picture that fills its frame."""

    name: ClassVar[str] = "background_picture"
    needs: ClassVar[tuple[Needs, ...]] = ("alpha", "picture")
    measure: ClassVar[Measure] = _BACKGROUND
    other: int  # index of the picture
    title: str

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw a picture."""
        check_background(given)
        found = draws.shuffled("picture", pictures(given))
        if not found:
            raise NotFitting("no other image fills its frame and has a title to name it by")
        return cls(other=found[0].index, title=found[0].title)

    def make(self, given: Given) -> Made:
        """Put the image on the picture, scaled and cut to its frame."""
        picture = next(other.image for other in given.others if other.index == self.other)
        target = ImageOps.fit(on_colour(picture, (255, 255, 255)), given.image.size)
        target.paste(given.image, (0, 0), given.image)
        return Made(source=given.flat, target=target)

    def words(self) -> tuple[Wording, Wording]:
        """Name the picture; before, the background was white."""
        values = {"picture_behind": label(self.title)}
        return Wording(group="edit", values=values), Wording(group="inverse", values=values)


Share = NDArray[np.float32]  # of the second colour, 0..1; (height or 1, width or 1)
_ACROSS: Final = 8  # stripes, squares or dots along the longer side


def _period(width: int, height: int) -> float:
    return max(width, height) / _ACROSS


def _gradient_down(width: int, height: int) -> Share:
    return np.linspace(0, 1, height, dtype=np.float32)[:, None]


def _gradient_across(width: int, height: int) -> Share:
    return np.linspace(0, 1, width, dtype=np.float32)[None, :]


def _stripes(count: int, period: float) -> Share:
    return (np.arange(count) // (period / 2) % 2).astype(np.float32)


def _stripes_down(width: int, height: int) -> Share:
    return _stripes(width, _period(width, height))[None, :]


def _stripes_across(width: int, height: int) -> Share:
    return _stripes(height, _period(width, height))[:, None]


def _squares(width: int, height: int) -> Share:
    period = 2 * _period(width, height)
    return (_stripes(height, period)[:, None] + _stripes(width, period)[None, :]) % 2


def _dots(width: int, height: int) -> Share:
    period = _period(width, height)
    down, across = (
        np.arange(side, dtype=np.float32) % period - period / 2 for side in (height, width)
    )
    return (down[:, None] ** 2 + across[None, :] ** 2 < (period / 4) ** 2).astype(np.float32)


_PATTERNS: Final[Mapping[str, Callable[[int, int], Share]]] = {
    "gradient down": _gradient_down,
    "gradient across": _gradient_across,
    "vertical stripes": _stripes_down,
    "horizontal stripes": _stripes_across,
    "checkerboard": _squares,
    "dots": _dots,
}
_DESCRIBED: Final[Mapping[str, str]] = {
    "gradient down": "a gradient from {first} at the top to {second} at the bottom",
    "gradient across": "a gradient from {first} on the left to {second} on the right",
    "vertical stripes": "vertical {first} and {second} stripes",
    "horizontal stripes": "horizontal {first} and {second} stripes",
    "checkerboard": "a checkerboard in {first} and {second}",
    "dots": "{second} dots on {first}",
}
