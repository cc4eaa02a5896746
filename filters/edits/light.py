"""Edits of light and focus: brightness, contrast, blur, sharpen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from PIL import ImageEnhance, ImageFilter

from filters.edits.edit_type import (
    STRENGTHS,
    Draws,
    EditBase,
    Given,
    Inverse,
    Made,
    Strength,
    Wording,
)
from filters.edits.measures import (
    Measure,
    brightness_levels,
    contrast_percent,
    sharpness_octaves,
)

# Of the exponent of a brighter image, and of the factor of a darker one.
_BRIGHTNESS: Final[Mapping[Strength, tuple[float, float]]] = {
    "slight": (0.78, 0.8),
    "plain": (0.62, 0.62),
    "strong": (0.45, 0.42),
}
_CONTRAST: Final[Mapping[Strength, tuple[float, float]]] = {
    "slight": (1.3, 0.75),
    "plain": (1.7, 0.55),
    "strong": (2.4, 0.32),
}
_BLUR: Final[Mapping[Strength, float]] = {"slight": 0.006, "plain": 0.012, "strong": 0.024}
_SHARPEN: Final[Mapping[Strength, int]] = {"slight": 160, "plain": 260, "strong": 400}
_SHARPEN_RADIUS: Final = 0.006  # of the longer side


@dataclass(frozen=True, kw_only=True, slots=True)
class Brightness(EditBase):
    """Make an image brighter by an exponent, or darker by a factor.

    Neither clips a level, so that the way back is exact but for rounding.
    """

    name: ClassVar[str] = "brightness"
    inverse: ClassVar[Inverse] = "computed"
    measure: ClassVar[Measure] = Measure(
        meaning="change of the luminance of the changed pixels, levels",
        least=10,
        of=brightness_levels,
        least_share=0.1,
    )
    direction: str  # brighter or darker
    amount: float  # the exponent or the factor
    strength: Strength

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw direction and strength."""
        strength: Strength = draws.pick("strength", STRENGTHS)
        brighter = draws.pick("direction", (True, False))
        amount = _BRIGHTNESS[strength][0 if brighter else 1]
        direction = "brighter" if brighter else "darker"
        return cls(direction=direction, amount=amount, strength=strength)

    @property
    def sign(self) -> int:
        """More or less light."""
        return 1 if self.direction == "brighter" else -1

    def make(self, given: Given) -> Made:
        """Map all levels of all channels by one table."""
        table = [round(self._level(level / 255) * 255) for level in range(256)] * 3
        return Made(source=given.flat, target=given.flat.point(table))

    def _level(self, level: float) -> float:
        return level**self.amount if self.sign > 0 else level * self.amount

    def words(self) -> tuple[Wording, Wording]:
        """Say brighter or darker, and how much."""
        back = "darker" if self.sign > 0 else "brighter"
        return (
            Wording(group=self.direction, values={}, strength=self.strength),
            Wording(group=back, values={}, strength=self.strength),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast(EditBase):
    """Spread the levels around the mean luminance, or bring them together."""

    name: ClassVar[str] = "contrast"
    measure: ClassVar[Measure] = Measure(
        meaning="change of the luminance's deviation, percent",
        least=10,
        of=contrast_percent,
        least_share=0.1,
    )
    factor: float
    strength: Strength

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw direction and strength."""
        strength: Strength = draws.pick("strength", STRENGTHS)
        more = draws.pick("direction", (True, False))
        return cls(factor=_CONTRAST[strength][0 if more else 1], strength=strength)

    @property
    def sign(self) -> int:
        """More or less contrast."""
        return 1 if self.factor > 1 else -1

    def make(self, given: Given) -> Made:
        """Multiply the distance of each level from the mean."""
        target = ImageEnhance.Contrast(given.flat).enhance(self.factor)
        return Made(source=given.flat, target=target)

    def words(self) -> tuple[Wording, Wording]:
        """Say more or less, and how much."""
        there, back = ("more", "less") if self.sign > 0 else ("less", "more")
        return (
            Wording(group=there, values={}, strength=self.strength),
            Wording(group=back, values={}, strength=self.strength),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Blur(EditBase):
    """Blur an image by a Gaussian."""

    name: ClassVar[str] = "blur"
    measure: ClassVar[Measure] = Measure(
        meaning="change of the variance of the Laplacian, octaves", least=1, of=sharpness_octaves
    )
    radius: float  # standard deviation, of the longer side
    strength: Strength

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw the strength."""
        strength: Strength = draws.pick("strength", STRENGTHS)
        return cls(radius=_BLUR[strength], strength=strength)

    @property
    def sign(self) -> int:
        """Less sharp."""
        return -1

    def make(self, given: Given) -> Made:
        """Blur all of the image."""
        radius = self.radius * max(given.flat.size)
        return Made(source=given.flat, target=given.flat.filter(ImageFilter.GaussianBlur(radius)))

    def words(self) -> tuple[Wording, Wording]:
        """Say how much."""
        return (
            Wording(group="edit", values={}, strength=self.strength),
            Wording(group="inverse", values={}),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Sharpen(EditBase):
    """Sharpen an image by an unsharp mask."""

    name: ClassVar[str] = "sharpen"
    measure: ClassVar[Measure] = Measure(
        meaning="change of the variance of the Laplacian, octaves",
        least=0.5,
        of=sharpness_octaves,
        least_difference=20,
    )
    percent: int
    strength: Strength

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw the strength."""
        strength: Strength = draws.pick("strength", STRENGTHS)
        return cls(percent=_SHARPEN[strength], strength=strength)

    @property
    def sign(self) -> int:
        """Sharper."""
        return 1

    def make(self, given: Given) -> Made:
        """Add what a blur would take away."""
        radius = max(1.0, _SHARPEN_RADIUS * max(given.flat.size))
        mask = ImageFilter.UnsharpMask(radius=radius, percent=self.percent, threshold=0)
        return Made(source=given.flat, target=given.flat.filter(mask))

    def words(self) -> tuple[Wording, Wording]:
        """Say how much."""
        return (
            Wording(group="edit", values={}, strength=self.strength),
            Wording(group="inverse", values={}, strength=self.strength),
        )
