"""Edits of style by classical filters: posterise, edges, pixelate, halftone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter, ImageOps

from filters.edits.edit_type import STRENGTHS, Draws, EditBase, Given, Made, Strength, Wording
from filters.edits.measures import Measure, is_colourful, mean_difference

_POSTERISED: Final[Mapping[int, Strength]] = {2: "strong", 3: "plain", 4: "slight"}
_BLOCKS: Final[Mapping[Strength, int]] = {"slight": 48, "plain": 28, "strong": 16}
_DOTS: Final[Mapping[Strength, int]] = {"slight": 96, "plain": 64, "strong": 40}
_INKS: Final = ("black", "coloured")
_LINES: Final = ("black on white", "white on black", "pencil")


@dataclass(frozen=True, kw_only=True, slots=True)
class Posterise(EditBase):
    """Round each channel to a few levels."""

    name: ClassVar[str] = "posterise"
    measure: ClassVar[Measure] = Measure(
        meaning="difference of the changed pixels, levels",
        least=24,
        of=mean_difference,
        least_share=0.08,
    )
    levels: int  # of a channel, from 0 to 255 in equal steps
    strength: Strength

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw the number of levels."""
        levels = draws.pick("levels", tuple(_POSTERISED))
        return cls(levels=levels, strength=_POSTERISED[levels])

    def make(self, given: Given) -> Made:
        """Map all levels by a table."""
        steps = self.levels - 1
        table = [round(round(level / 255 * steps) / steps * 255) for level in range(256)] * 3
        return Made(source=given.flat, target=given.flat.point(table))

    def words(self) -> tuple[Wording, Wording | None]:
        """Say how many levels."""
        values = {"levels": ("two", "three", "four")[self.levels - 2]}
        return Wording(group="edit", values=values), Wording(group="inverse", values=values)


@dataclass(frozen=True, kw_only=True, slots=True)
class Edges(EditBase):
    """Keep the outlines as a drawing."""

    name: ClassVar[str] = "edges"
    measure: ClassVar[Measure] = Measure(
        meaning="difference of the changed pixels, levels",
        least=30,
        of=mean_difference,
        least_share=0.05,
    )
    lines: str
    colourful: bool  # whether the source has colours, which the way back could ask for

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw the kind of lines."""
        return cls(lines=draws.pick("lines", _LINES), colourful=is_colourful(given.flat))

    def make(self, given: Given) -> Made:
        """Draw the gradient, or for a pencil what is darker than around it."""
        grey = given.flat.convert("L")
        scale = max(given.flat.size) / 512
        drawn = _pencil(grey, scale) if self.lines == "pencil" else _gradient(grey, scale)
        if self.lines == "white on black":
            drawn = ImageOps.invert(drawn)
        return Made(source=given.flat, target=drawn.convert("RGB"))

    def words(self) -> tuple[Wording, Wording | None]:
        """Name the kind."""
        there = "pencil" if self.lines == "pencil" else "edit"
        ink, paper = self.lines.split(" on ") if there == "edit" else ("", "")
        values = {"ink": ink, "paper": paper} if ink else {}
        back = Wording(group="inverse", values={}) if self.colourful else None
        return Wording(group=there, values=values), back


def _gradient(grey: Image.Image, scale: float) -> Image.Image:
    """Draw black lines on white where the luminance changes."""
    smooth = np.asarray(grey.filter(ImageFilter.GaussianBlur(max(0.6, scale))), np.float32)
    down, across = np.gradient(smooth)
    strength = np.sqrt(down**2 + across**2) * (10 * max(1.0, scale))
    return Image.fromarray((255 - np.minimum(strength, 255)).astype(np.uint8))


def _pencil(grey: Image.Image, scale: float) -> Image.Image:
    """Divide the luminance by its surroundings, known as colour dodge; black fills stay grey."""
    around = grey.filter(ImageFilter.GaussianBlur(max(2.0, 7 * scale)))
    level = np.asarray(grey, np.float32) + 12
    dodged = np.minimum(255, 255 * level / (np.asarray(around, np.float32) + 12))
    shade = ImageChops.blend(Image.new("L", grey.size, 255), grey, 0.18)
    return ImageChops.multiply(Image.fromarray(dodged.astype(np.uint8)), shade)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pixelate(EditBase):
    """Draw an image in large squares."""

    name: ClassVar[str] = "pixelate"
    measure: ClassVar[Measure] = Measure(
        meaning="difference of the changed pixels, levels",
        least=20,
        of=mean_difference,
        least_share=0.05,
    )
    blocks: int  # along the longer side
    strength: Strength

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw the size of the squares."""
        strength: Strength = draws.pick("strength", STRENGTHS)
        return cls(blocks=_BLOCKS[strength], strength=strength)

    def make(self, given: Given) -> Made:
        """Fill each square with its mean."""
        scale = self.blocks / max(given.flat.size)
        width, height = (max(1, round(side * scale)) for side in given.flat.size)
        small = given.flat.resize((width, height), Image.Resampling.BOX)
        target = small.resize(given.flat.size, Image.Resampling.NEAREST)
        return Made(source=given.flat, target=target)

    def words(self) -> tuple[Wording, Wording | None]:
        """Name the size of the squares."""
        sizes = {"slight": "small", "plain": "large", "strong": "very large"}
        values = {"size": sizes[self.strength]}
        there = Wording(group="edit", values=values)
        if self.strength == "strong":
            return there, None
        return there, Wording(group="inverse", values=values)


@dataclass(frozen=True, kw_only=True, slots=True)
class Halftone(EditBase):
    """Print an image in dots, whose areas are as dark as the image."""

    name: ClassVar[str] = "halftone"
    measure: ClassVar[Measure] = Measure(
        meaning="difference of the changed pixels, levels",
        least=30,
        of=mean_difference,
        least_share=0.1,
    )
    dots: int  # along the longer side
    ink: str  # black or coloured
    strength: Strength
    colourful: bool  # whether the source has colours, which the way back could ask for

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw the size of the dots and the inks."""
        strength: Strength = draws.pick("strength", STRENGTHS)
        ink = draws.pick("ink", _INKS)
        colourful = is_colourful(given.flat)
        return cls(dots=_DOTS[strength], ink=ink, strength=strength, colourful=colourful)

    def make(self, given: Given) -> Made:
        """Print the luminance, or each channel."""
        longer = max(given.flat.size)
        cell = max(4, round(longer / self.dots))
        paper = given.flat if self.ink == "coloured" else given.flat.convert("L")
        printed = [_dots(channel, cell) for channel in paper.split()]
        target = Image.merge("RGB", printed if len(printed) == 3 else printed * 3)
        return Made(source=given.flat, target=target)

    def words(self) -> tuple[Wording, Wording | None]:
        """Name the size and the inks."""
        sizes = {"slight": "fine", "plain": "large", "strong": "very coarse"}
        ink = {"black": "black", "coloured": "coloured"}[self.ink]
        values = {"size": sizes[self.strength], "ink": ink}
        there = Wording(group="edit", values=values)
        if self.strength == "strong" or not (self.colourful or self.ink == "coloured"):
            return there, None
        back = "inverse" if self.ink == "coloured" else "inverse black"
        return there, Wording(group=back, values={})


def _dots(channel: Image.Image, cell: int) -> Image.Image:
    """Return dots of ink, mode L, in cells of `cell` px."""
    columns, rows = -(-channel.width // cell), -(-channel.height // cell)
    whole = Image.new("L", (columns * cell, rows * cell), 255)
    whole.paste(channel)
    level = whole.resize((columns, rows), Image.Resampling.BOX)
    smooth = np.asarray(level.resize(whole.size, Image.Resampling.BILINEAR))
    pattern = np.tile(_dot_order(cell), (rows, columns))
    printed = np.where(smooth > pattern, 255, 0).astype(np.uint8)
    return Image.fromarray(printed[: channel.height, : channel.width])


def _dot_order(cell: int) -> NDArray[np.uint8]:
    """Return at which level each pixel of a cell is still inked, its centre longest."""
    from_centre = np.abs(np.arange(cell) - (cell - 1) / 2)
    squared = from_centre[:, None] ** 2 + from_centre[None, :] ** 2
    order = squared.ravel().argsort(kind="stable").argsort(kind="stable").reshape(cell, cell)
    return (254 - order * 254 // (cell * cell)).astype(np.uint8)
