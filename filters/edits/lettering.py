"""Edits that write words on an image, in the font that comes with Pillow."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final, Self

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from filters.edits.colours import COLOURS, Colour
from filters.edits.edit_type import Draws, EditBase, Given, Made, NotFitting, Wording
from filters.edits.measures import Levels, Measure, changed_percent, largest
from filters.edits.places import SPOTS, Place, box_at, by_detail
from filters.edits.sentences import written_words

_COLOURS: Final = ("black", "white", "red", "yellow", "blue", "green", "orange", "purple", "pink")
_MOST_WIDTH: Final = 0.8  # of the image's width
_MOST_HEIGHT: Final = 0.14  # of the image's height, a line
_LEAST_HEIGHT: Final = 12  # px; smaller letters cannot be read
_MARGIN: Final = 0.05  # of the shorter side
_QUIET: Final = 2  # places that may be drawn, those with the least detail
_LINES: Final[tuple[Place, ...]] = ("top", "centre", "bottom")
_APART: Final = 90  # levels, in a channel; of the letters from a pixel behind them
_LEAST_SEEN: Final = 0.85  # of the pixels behind the letters


@dataclass(frozen=True, kw_only=True, slots=True)
class Text(EditBase):
    """Write words, with an outline that keeps them readable."""

    name: ClassVar[str] = "text"
    measure: ClassVar[Measure] = Measure(
        meaning="pixels that changed, percent", least=0.8, of=changed_percent, least_share=0.008
    )
    text: str
    colour: str  # name of a colour
    place: Place

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw the words, a place with little detail and a colour that stands out there."""
        text = draws.pick("text", written_words())
        font, width, height = _fitted(text, given.flat.size)
        if font.size < _LEAST_HEIGHT:
            raise NotFitting(f"letters would be lower than {_LEAST_HEIGHT} px")
        quiet = [place for place in by_detail(given.flat, 0.33) if place in _LINES]
        place: Place = draws.pick("place", quiet[:_QUIET])
        box = box_at(place, (width, height), given.flat.size, _margin(given.flat))
        behind = np.asarray(given.flat.crop(box), np.float32)
        seen = {name: _seen_share(behind, COLOURS[name]) for name in _COLOURS}
        clear = [name for name, share in seen.items() if share >= _LEAST_SEEN]
        best = max(_COLOURS, key=seen.__getitem__)
        return cls(text=text, colour=draws.pick("colour", clear or [best]), place=place)

    def make(self, given: Given) -> Made:
        """Draw the letters."""
        font, width, height = _fitted(self.text, given.flat.size)
        target = given.flat.copy()
        box = box_at(self.place, (width, height), target.size, _margin(target))
        colour = COLOURS[self.colour]
        ImageDraw.Draw(target).text(
            box[:2],
            self.text,
            fill=colour,
            font=font,
            anchor="lt",
            stroke_width=_stroke(font.size),
            stroke_fill=_outline(colour),
        )
        return Made(source=given.flat, target=target)

    def words(self) -> tuple[Wording, Wording]:
        """Quote the words; name colour and place."""
        values = {"text": f'"{self.text}"', "colour": self.colour, "where": SPOTS[self.place].where}
        return Wording(group="edit", values=values), Wording(group="inverse", values=values)


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("Pillow is built without FreeType, so that it has no font of any size")
    return font


def _fitted(text: str, size: tuple[int, int]) -> tuple[ImageFont.FreeTypeFont, int, int]:
    """Return the largest font in which a text fits, and the text's width and height, px."""
    wide, high = _extent(_font(100), text)
    largest = 100 * min(_MOST_WIDTH * size[0] / wide, _MOST_HEIGHT * size[1] / high)
    font = _font(max(1, int(largest)))
    return font, *_extent(font, text)


def _extent(font: ImageFont.FreeTypeFont, text: str) -> tuple[int, int]:
    left, top, right, bottom = font.getbbox(text, anchor="lt", stroke_width=_stroke(font.size))
    return round(right - left), round(bottom - top)


def _stroke(size: float) -> int:
    return max(1, round(size / 28))


def _outline(colour: Colour) -> Colour:
    light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return (0, 0, 0) if light > 140 else (255, 255, 255)


def _seen_share(behind: Levels, colour: Colour) -> float:
    apart = largest(np.abs(behind - np.array(colour, np.float32)))
    return round(float((apart >= _APART).mean()), 3)


def _margin(image: Image.Image) -> int:
    return round(_MARGIN * min(image.size))
