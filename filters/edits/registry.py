"""The types of edits by name, and how one is made of an image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Final

from PIL import Image

from filters.edits.background import BackgroundColour, BackgroundPattern, BackgroundPicture
from filters.edits.colour import Hue, Monochrome, Negative, Saturation, Sepia
from filters.edits.cutouts import WHITE, on_colour
from filters.edits.edit_type import (
    Draws,
    Edit,
    EditType,
    Given,
    Made,
    NotFitting,
    Other,
    Parameters,
    parameters_of,
)
from filters.edits.geometry import Crop, Flip, Rotate, Tilt, Zoom
from filters.edits.lettering import Text
from filters.edits.light import Blur, Brightness, Contrast, Sharpen
from filters.edits.measures import Change, change
from filters.edits.objects import Add, Move, Replace, Resize
from filters.edits.sentences import sentence
from filters.edits.style import Edges, Halftone, Pixelate, Posterise
from schemas.markers import marker_in

_TYPES: Final[tuple[EditType, ...]] = (
    *(Hue, Saturation, Monochrome, Sepia, Negative),
    *(Brightness, Contrast, Blur, Sharpen),
    *(Flip, Rotate, Tilt, Crop, Zoom),
    *(BackgroundColour, BackgroundPattern, BackgroundPicture),
    *(Add, Move, Resize, Replace, Text),
    *(Posterise, Edges, Pixelate, Halftone),
)
EDITS: Final[Mapping[str, EditType]] = MappingProxyType({each.name: each for each in _TYPES})

LEAST_SIDE: Final = 64  # px
MOST_ASPECT: Final = 8  # longer side over shorter one


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeEdit:
    """Two images and the words for both directions."""

    edit: str  # name of the type
    parameters: Parameters  # JSON values that with the images decide both pixels and words
    source: Image.Image  # RGB: the given image on white; for objects that move, with the object
    image: Image.Image  # RGB: the target
    instruction: str  # turns the source into the target
    inverse: str  # turns the target into the source; '' where nobody could ask for that
    change: Change


def make_edit(
    name: str,
    image: Image.Image,
    key: str,
    *,
    others: Sequence[tuple[Image.Image, str]] = (),
    source_words: str = "",
) -> MadeEdit:
    """Make an edit of one type; the key decides its parameters and words.

    Args:
        name: one of `EDITS`.
        image: decoded and upright: RGBA where it has alpha, else RGB. The cost grows with its
            pixels, so scale it to the size that is trained on first.
        key: of the sample.
        others: images with their titles, which can be put in (RGBA, on a transparent background)
            or behind (those that fill their frame). Titles may be anybody's text.
        source_words: a caption of the image, which some instructions name it by.

    Raises:
        NotFitting: the edit cannot be made of this image, or nobody would see it.
        ValueError: there is no such type, or an image has another mode.
    """
    given = _given(image, others)
    draws = Draws(key, name)
    edit = _type(name).draw(given, draws)
    made, found = _checked(edit, given)
    there, back = edit.words()
    instruction = sentence(there, draws, "edit", source_words)
    inverse = sentence(back, draws, "inverse", source_words) if back else ""
    if marker := marker_in(instruction) or marker_in(inverse):
        raise NotFitting(f"the words would spell {marker!r}, a token of chat templates")
    return MadeEdit(
        edit=name,
        parameters=parameters_of(edit),
        source=made.source,
        image=made.target,
        instruction=instruction,
        inverse=inverse,
        change=found,
    )


def remake(
    name: str,
    image: Image.Image,
    parameters: Parameters,
    *,
    others: Sequence[tuple[Image.Image, str]] = (),
) -> Made:
    """Make source and target again from stored parameters.

    Raises:
        ValueError: the parameters are not those of the type.
    """
    edit_type: Any = _type(name)
    if {*parameters} != {field.name for field in fields(edit_type)}:
        raise ValueError(f"edit {name} has no parameters {', '.join(sorted(parameters))}")
    edit: Edit = edit_type(**parameters)
    return edit.make(_given(image, others))


def changed(name: str, source: Image.Image, target: Image.Image) -> Change:
    """Measure how far a target differs from its source, by the measure of a type; both RGB."""
    return change(_type(name).measure, source, target)


def _type(name: str) -> EditType:
    if name not in EDITS:
        raise ValueError(f"edit {name!r}: expected one of {', '.join(EDITS)}")
    return EDITS[name]


def _given(image: Image.Image, others: Sequence[tuple[Image.Image, str]]) -> Given:
    for each in (image, *(other for other, _ in others)):
        if each.mode not in ("RGB", "RGBA"):
            raise ValueError(f"mode {each.mode}: expected RGB or RGBA")
    if min(image.size) < LEAST_SIDE:
        raise NotFitting(f"{image.width} x {image.height} px: a side is under {LEAST_SIDE} px")
    if max(image.size) > MOST_ASPECT * min(image.size):
        raise NotFitting(
            f"{image.width} x {image.height} px: one side is over {MOST_ASPECT} times the other"
        )
    found = (Other(index=n, image=each, title=title) for n, (each, title) in enumerate(others))
    return Given(image=image, flat=on_colour(image, WHITE), others=tuple(found))


def _checked(edit: Edit, given: Given) -> tuple[Made, Change]:
    """Make an edit and check that it is seen, in the direction that its words say."""
    made = edit.make(given)
    found = change(edit.measure, made.source, made.target)
    if found.share < found.least_share:
        raise NotFitting(
            f"{found.share:.2%} of the pixels change, expected at least {found.least_share:.2%}"
        )
    if found.difference < found.least_difference:
        raise NotFitting(
            f"changed pixels differ by {found.difference:.1f} levels, expected at least "
            f"{found.least_difference:g}"
        )
    if not found.is_enough(edit.sign):
        sign = "" if edit.sign >= 0 else "-"
        raise NotFitting(
            f"{found.meaning}: {found.value:g}, expected {sign}{found.least:g} or further"
        )
    return made, found
