"""Edits of objects: images with alpha that are put on another one, moved, resized or replaced."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from PIL import Image

from filters.edits.cutouts import Thing, is_seen_at, put, scaled, thing_of, things
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
from filters.edits.naming import Named, named
from filters.edits.places import SPOTS, Box, Place, box_at, by_detail

_SHARES: Final = (0.26, 0.32, 0.38)  # of the shorter side
_SMALL, _LARGE = 0.2, 0.42
_MARGIN: Final = 0.03  # of the shorter side
_QUIET: Final = 5  # places that may be drawn, those with the least detail
_LEAST_SIDE: Final = 128  # px; of an image that something can be put in
_OBJECT: Final = Measure(
    meaning="pixels that changed, percent", least=1.5, of=changed_percent, least_share=0.015
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Add(EditBase):
    """Put an object where there is little to see; the way back removes it."""

    name: ClassVar[str] = "add"
    inverse: ClassVar[Inverse] = "kept"
    needs: ClassVar[tuple[Needs, ...]] = ("object",)
    measure: ClassVar[Measure] = _OBJECT
    other: int
    title: str
    place: Place
    share: float  # of its longer side, of the image's shorter side

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw an object, its size and its place."""
        share = draws.pick("share", _SHARES)
        for thing, place in _placed(given, draws, share):
            return cls(other=thing.index, title=thing.title, place=place, share=share)
        raise NotFitting(_NOTHING_FITS)

    def make(self, given: Given) -> Made:
        """Put it in."""
        thing = _of(given, self.other)
        return Made(source=given.flat, target=_with(given.flat, thing, self.place, self.share))

    def words(self) -> tuple[Wording, Wording]:
        """Name object and place."""
        values = _names(self.title) | {"where": SPOTS[self.place].where}
        return Wording(group="edit", values=values), Wording(group="inverse", values=values)


@dataclass(frozen=True, kw_only=True, slots=True)
class Move(EditBase):
    """Move an object from one place to another; the source has it too."""

    name: ClassVar[str] = "move"
    inverse: ClassVar[Inverse] = "kept"
    needs: ClassVar[tuple[Needs, ...]] = ("object",)
    measure: ClassVar[Measure] = _OBJECT
    other: int
    title: str
    before: Place
    after: Place
    share: float

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw an object, its size and two places of which none covers the other."""
        share = draws.pick("share", _SHARES)
        first: dict[int, Place] = {}
        for thing, place in _placed(given, draws, share):
            before = first.setdefault(thing.index, place)
            boxes = [_box(given.flat, thing.image, each, share) for each in (before, place)]
            if not _overlap(*boxes):
                return cls(
                    other=thing.index, title=thing.title, before=before, after=place, share=share
                )
        raise NotFitting(_NOTHING_FITS)

    def make(self, given: Given) -> Made:
        """Put it in twice, each time alone."""
        thing = _of(given, self.other)
        source, target = (
            _with(given.flat, thing, place, self.share) for place in (self.before, self.after)
        )
        return Made(source=source, target=target)

    def words(self) -> tuple[Wording, Wording]:
        """Name the object and both places."""
        names, first, second = _names(self.title), SPOTS[self.before], SPOTS[self.after]
        there = {"from": first.noun, "where": first.where, "to": second.noun, "there": second.where}
        back = {"from": second.noun, "where": second.where, "to": first.noun, "there": first.where}
        return (
            Wording(group="edit", values=names | there),
            Wording(group="edit", values=names | back),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Resize(EditBase):
    """Make an object larger or smaller; the source has it too."""

    name: ClassVar[str] = "resize"
    inverse: ClassVar[Inverse] = "kept"
    needs: ClassVar[tuple[Needs, ...]] = ("object",)
    measure: ClassVar[Measure] = _OBJECT
    other: int
    title: str
    place: Place
    before: float  # of its longer side, of the image's shorter side
    after: float

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw an object, its place and the direction."""
        before, after = draws.pick("direction", ((_SMALL, _LARGE), (_LARGE, _SMALL)))
        for thing, place in _placed(given, draws, _LARGE):
            return cls(
                other=thing.index, title=thing.title, place=place, before=before, after=after
            )
        raise NotFitting(_NOTHING_FITS)

    def make(self, given: Given) -> Made:
        """Put it in twice, each time alone."""
        thing = _of(given, self.other)
        source, target = (
            _with(given.flat, thing, self.place, share) for share in (self.before, self.after)
        )
        return Made(source=source, target=target)

    def words(self) -> tuple[Wording, Wording]:
        """Name the object and its place, and the direction."""
        values = _names(self.title) | {"where": SPOTS[self.place].where}
        there, back = "larger", "smaller"
        if self.after < self.before:
            there, back = back, there
        return Wording(group=there, values=values), Wording(group=back, values=values)


@dataclass(frozen=True, kw_only=True, slots=True)
class Replace(EditBase):
    """Replace an object by another one; the source has the first."""

    name: ClassVar[str] = "replace"
    inverse: ClassVar[Inverse] = "kept"
    needs: ClassVar[tuple[Needs, ...]] = ("two objects",)
    measure: ClassVar[Measure] = _OBJECT
    before: int  # indices
    after: int
    titles: list[str]  # before and after
    place: Place
    share: float

    @classmethod
    def draw(cls, given: Given, draws: Draws) -> Self:
        """Draw two objects and a place for both."""
        share = draws.pick("share", _SHARES)
        at: dict[Place, Thing] = {}
        for thing, place in _placed(given, draws, share):
            first = at.setdefault(place, thing)
            if first.title.casefold() != thing.title.casefold():
                return cls(
                    before=first.index,
                    after=thing.index,
                    titles=[first.title, thing.title],
                    place=place,
                    share=share,
                )
        raise NotFitting(f"{_NOTHING_FITS}, or there are no two of different names")

    def make(self, given: Given) -> Made:
        """Put in one, then the other."""
        source, target = (
            _with(given.flat, _of(given, index), self.place, self.share)
            for index in (self.before, self.after)
        )
        return Made(source=source, target=target)

    def words(self) -> tuple[Wording, Wording]:
        """Name both objects and the place."""
        old, new = (_named(title) for title in self.titles)
        where = {"where": SPOTS[self.place].where}
        there = {"the_old": old.again, "a_new": new.first} | where
        back = {"the_old": new.again, "a_new": old.first} | where
        return Wording(group="edit", values=there), Wording(group="edit", values=back)


_NOTHING_FITS: Final = "no other image is a thing with a title that is seen where there is room"


def _placed(given: Given, draws: Draws, share: float) -> Iterator[tuple[Thing, Place]]:
    """Yield objects and places where they are seen: all places of one, then those of the next."""
    if min(given.flat.size) < _LEAST_SIDE:
        raise NotFitting(f"a side of the image is shorter than {_LEAST_SIDE} px")
    places = draws.shuffled("place", by_detail(given.flat, share)[:_QUIET])
    for thing in draws.shuffled("object", things(given)):
        for place in places:
            small = scaled(thing.image, round(share * min(given.flat.size)))
            if is_seen_at(given.flat, small, _box(given.flat, thing.image, place, share)):
                yield thing, place


def _box(base: Image.Image, thing: Image.Image, place: Place, share: float) -> Box:
    shorter = min(base.size)
    scale = round(share * shorter) / max(thing.size)
    width, height = (max(1, round(side * scale)) for side in thing.size)
    return box_at(place, (width, height), base.size, round(_MARGIN * shorter))


def _with(base: Image.Image, thing: Image.Image, place: Place, share: float) -> Image.Image:
    small = scaled(thing, round(share * min(base.size)))
    return put(base, small, _box(base, thing, place, share))


def _of(given: Given, index: int) -> Image.Image:
    """Return the image of an object without its empty border."""
    found = next((other for other in given.others if other.index == index), None)
    thing = thing_of(found) if found else None
    if thing is None:
        raise NotFitting(f"other image {index} is no thing with a title")
    return thing.image


def _named(title: str) -> Named:
    name = named(title)
    if name is None:
        raise NotFitting(f"title {title!r:.80} does not fit into a sentence")
    return name


def _names(title: str) -> dict[str, str]:
    name = _named(title)
    return {"a_thing": name.first, "the_thing": name.again}


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
