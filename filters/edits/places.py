"""Nine places of an image: their names, their boxes and how much is to be seen there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from PIL import Image

from filters.edits.measures import detail, levels, mean

Box: TypeAlias = tuple[int, int, int, int]  # left, top, right and bottom, px
_Edge: TypeAlias = Literal["top", "left", "centre", "right", "bottom"]
_Corner: TypeAlias = Literal["top left", "top right", "bottom left", "bottom right"]
Place: TypeAlias = _Edge | _Corner


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in words, and where it is."""

    noun: str  # "the top edge"
    where: str  # "at the top"
    part: str  # "the upper part"
    across: float  # 0 left, 0.5 centre, 1 right
    down: float


SPOTS: Final[Mapping[Place, Spot]] = {
    "top left": Spot("the top left corner", "in the top left corner", "the upper left part", 0, 0),
    "top": Spot("the top edge", "at the top", "the upper part", 0.5, 0),
    "top right": Spot(
        "the top right corner", "in the top right corner", "the upper right part", 1, 0
    ),
    "left": Spot("the left side", "on the left side", "the left part", 0, 0.5),
    "centre": Spot("the centre", "in the centre", "the centre", 0.5, 0.5),
    "right": Spot("the right side", "on the right side", "the right part", 1, 0.5),
    "bottom left": Spot(
        "the bottom left corner", "in the bottom left corner", "the lower left part", 0, 1
    ),
    "bottom": Spot("the bottom edge", "at the bottom", "the lower part", 0.5, 1),
    "bottom right": Spot(
        "the bottom right corner", "in the bottom right corner", "the lower right part", 1, 1
    ),
}
PLACES: Final[tuple[Place, ...]] = tuple(SPOTS)


def box_at(place: Place, size: tuple[int, int], within: tuple[int, int], margin: int = 0) -> Box:
    """Return the box of a given size at a place, `margin` px from the edges.

    >>> box_at("bottom right", (10, 20), (100, 100), 5)
    (85, 75, 95, 95)
    """
    spot = SPOTS[place]
    left = round(margin + spot.across * (within[0] - size[0] - 2 * margin))
    top = round(margin + spot.down * (within[1] - size[1] - 2 * margin))
    return left, top, left + size[0], top + size[1]


def by_detail(image: Image.Image, share: float) -> list[Place]:
    """Return all places, those with the least detail first.

    Args:
        image: RGB.
        share: side of the box at each place, of the image's sides.
    """
    gradient = detail(levels(image)[0])
    height, width = gradient.shape
    size = max(1, round(share * width)), max(1, round(share * height))
    found: dict[Place, float] = {}
    for place in PLACES:
        left, top, right, bottom = box_at(place, size, (width, height))
        found[place] = round(mean(gradient[top:bottom, left:right]), 3)
    return sorted(PLACES, key=found.__getitem__)
