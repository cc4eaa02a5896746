"""Edits of colour: hue, saturation, monochrome, sepia, negative."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from filters.edits.colours import main_colour, name_of
from filters.edits.edit_type import (
    STRENGTHS,
    Draws,
    EditBase,
    Given,
    Inverse,
    Made,
    NotFitting,
    Strength,
    Wording,
)
from filters.edits.measures import (
    Measure,
    chroma_percent,
    hue_degrees,
    largest,
    levels,
    mean_difference,
    smallest,
)

_NONE: Final[Mapping[str, str]] = {}
_SEPIA: Final = (
    *(0.393, 0.769, 0.189, 0),
    *(0.349, 0.686, 0.168, 0),
    *(0.272, 0.534, 0.131, 0),
)  # W3C, Filter Effects Module, sepia(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hue(EditBase):
    """Turn all hues by a multiple of 60 degrees, which is exact in whole levels."""

    name: ClassVar[str] = "hue"
    inverse: ClassVar[Inverse] = "computed"
    measure: ClassVar[Measure] = Measure(
        meaning="turn of the hues, degrees", least=40, of=hue_degrees
    )
    degrees: int  # towards green: 60, 120, 180, 240 or 300
    before: str  # name of the main colour of the source
    after: str  # and of the target

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw the degrees; find the names of the main colour."""
        main = main_colour(levels(given.flat)[0])
        if main is None:
            raise NotFitting("the image has no colour whose hue could change")
        before = name_of(main)
        for degrees in draws.shuffled("degrees", (60, 120, 180, 240, 300)):
            red, green, blue = turn_hues(np.array([[main]], np.uint8), degrees)[0, 0]
            if (after := name_of((int(red), int(green), int(blue)))) != before:
                return cls(degrees=degrees, before=before, after=after)
        raise NotFitting(f"the main colour would be called {before} before and after")

    def make(self, given: Given) -> Made:
        """Turn the hues."""
        rgb = turn_hues(np.asarray(given.flat), self.degrees)
        return Made(source=given.flat, target=Image.fromarray(rgb))

    def words(self) -> tuple[Wording, Wording]:
        """Name the main colour before and after."""
        return (
            Wording(group="edit", values={"before": self.before, "after": self.after}),
            Wording(group="edit", values={"before": self.after, "after": self.before}),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Saturation(EditBase):
    """Strengthen or weaken the colours."""

    name: ClassVar[str] = "saturation"
    measure: ClassVar[Measure] = Measure(
        meaning="change of the mean chroma, percent", least=15, of=chroma_percent
    )
    factor: float  # of the distance to grey
    strength: Strength

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw direction and strength."""
        strength: Strength = draws.pick("strength", STRENGTHS)
        more = draws.pick("direction", (True, False))
        return cls(factor=_SATURATIONS[strength][0 if more else 1], strength=strength)

    @property
    def sign(self) -> int:
        """More or less chroma."""
        return 1 if self.factor > 1 else -1

    def make(self, given: Given) -> Made:
        """Mix each pixel with its grey, or go beyond it."""
        target = ImageEnhance.Color(given.flat).enhance(self.factor)
        return Made(source=given.flat, target=target)

    def words(self) -> tuple[Wording, Wording]:
        """Say more or less, and how much."""
        groups = ("more", "less") if self.sign > 0 else ("less", "more")
        first, second = (
            Wording(group=group, values=_NONE, strength=self.strength) for group in groups
        )
        return first, second


_SATURATIONS: Final[Mapping[Strength, tuple[float, float]]] = {
    "slight": (1.6, 0.6),
    "plain": (2.1, 0.38),
    "strong": (3.0, 0.12),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Monochrome(EditBase):
    """Remove all colour."""

    name: ClassVar[str] = "monochrome"
    measure: ClassVar[Measure] = Measure(
        meaning="change of the mean chroma, percent", least=99, of=chroma_percent
    )

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw nothing."""
        return cls()

    @property
    def sign(self) -> int:
        """Less chroma."""
        return -1

    def make(self, given: Given) -> Made:
        """Keep the luminance."""
        return Made(source=given.flat, target=given.flat.convert("L").convert("RGB"))

    def words(self) -> tuple[Wording, Wording]:
        """There is nothing to name."""
        return Wording(group="edit", values=_NONE), Wording(group="inverse", values=_NONE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sepia(EditBase):
    """Tone the image brown, as an old photograph."""

    name: ClassVar[str] = "sepia"
    measure: ClassVar[Measure] = Measure(
        meaning="difference of the changed pixels, levels", least=16, of=mean_difference
    )

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw nothing."""
        return cls()

    def make(self, given: Given) -> Made:
        """Apply the matrix of CSS."""
        return Made(source=given.flat, target=given.flat.convert("RGB", _SEPIA))

    def words(self) -> tuple[Wording, Wording]:
        """There is nothing to name."""
        return Wording(group="edit", values=_NONE), Wording(group="inverse", values=_NONE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Negative(EditBase):
    """Invert each channel."""

    name: ClassVar[str] = "negative"
    inverse: ClassVar[Inverse] = "computed"
    measure: ClassVar[Measure] = Measure(
        meaning="difference of the changed pixels, levels",
        least=40,
        of=mean_difference,
        least_share=0.5,
    )

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw nothing."""
        return cls()

    def make(self, given: Given) -> Made:
        """Subtract each level from 255."""
        return Made(source=given.flat, target=ImageOps.invert(given.flat))

    def words(self) -> tuple[Wording, Wording]:
        """Both directions are alike, but a negative may also be called so."""
        return Wording(group="edit", values=_NONE), Wording(group="inverse", values=_NONE)


def turn_hues(rgb: NDArray[np.uint8], degrees: int) -> NDArray[np.uint8]:
    """Turn all hues by a multiple of 60 degrees, (height, width, 3).

    120 degrees move each channel to the next; 180 mirror each pixel's channels between its
    smallest and its largest. Lightness and saturation of HSL stay, and nothing is rounded.
    """
    mirrored = degrees % 120 != 0
    shift = (degrees - 180 if mirrored else degrees) // 120
    turned = rgb[..., [(channel - shift) % 3 for channel in range(3)]]
    if not mirrored:
        return turned
    ends = largest(rgb) + smallest(rgb)  # wraps around at 256, and so does the difference
    return ends[..., None] - turned
