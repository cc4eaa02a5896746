"""Where a caption stands in a form, and which captions fit there."""

from collections.abc import Collection
from enum import Enum, auto
from functools import cache
from typing import Final

from filters.caption_forms import is_noun_phrase, is_one_line
from filters.phrase import as_phrase, without_stop

TEXT: Final = "{text}"


class Place(Enum):
    """Where the caption stands in a form."""

    NOWHERE = auto()
    INSIDE = auto()  # of a sentence
    OPENING = auto()  # of a sentence: the first word of the turn
    QUOTED = auto()  # in quotation marks, inside a sentence
    APART = auto()  # after a colon, or on its own line
    HEADING = auto()  # as the first line of the turn, or all of it


@cache
def place_of(form: str) -> Place:
    """Return where the caption stands in a form.

    >>> [place_of(form).name for form in ("Draw {text}.", 'Draw "{text}".', "Draw this: {text}")]
    ['INSIDE', 'QUOTED', 'APART']
    """
    before, found, after = form.partition(TEXT)
    if not found:
        return Place.NOWHERE
    if before.endswith('"') and after.startswith('"'):
        return Place.QUOTED
    ends_line = not after or after.startswith("\n")
    if not before:
        return Place.HEADING if ends_line else Place.OPENING
    starts_apart = before.rstrip(" ").endswith((":", "\n"))
    return Place.APART if ends_line and starts_apart else Place.INSIDE


def places_for(caption: str, *, faithful: bool = False) -> Collection[Place]:
    """Return where a caption fits: apart always, elsewhere by its form.

    A turn begins with a caption only if that does not begin with a lower-case letter.

    >>> sorted(place.name for place in places_for("Two dogs run."))
    ['APART', 'HEADING', 'NOWHERE', 'QUOTED']

    Args:
        caption: a cleaned caption.
        faithful: whether it is copied as it is, so that it only stands apart.
    """
    places = {Place.NOWHERE, Place.APART}
    begins = not caption[:1].islower()
    if begins:
        places.add(Place.HEADING)
    if faithful:
        return places
    if is_one_line(caption):
        places.add(Place.QUOTED)
    if is_noun_phrase(caption):
        places |= {Place.INSIDE, Place.OPENING} if begins else {Place.INSIDE}
    return places


def fitted(caption: str, place: Place) -> str:
    """Return a caption as it stands in its place: as it is, without its stop, or as a phrase.

    >>> [fitted("A red fox.", place) for place in (Place.INSIDE, Place.QUOTED, Place.APART)]
    ['a red fox', 'A red fox', 'A red fox.']
    """
    if place in (Place.INSIDE, Place.OPENING):
        return as_phrase(caption, starts=place is Place.OPENING)
    return without_stop(caption) if place is Place.QUOTED else caption
