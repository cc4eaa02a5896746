"""What a user says who asks for an edit: the forms of `words.yaml`, with their values."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from filters.edits.edit_type import Draws, Strength, Wording
from filters.edits.naming import named
from schemas.strict_yaml import load_yaml

PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
OWN: Final = ("image", "more", "by")  # placeholders that every type has
_WITH_SOURCE_WORDS: Final = 4  # one in so many names the image by the words of its source

Forms = Annotated[tuple[str, ...], Field(min_length=6)]
Words = Annotated[tuple[str, ...], Field(min_length=1)]


class Bank(BaseModel):
    """The content of `words.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: Words
    images: Words
    more: Mapping[Strength, Words]
    by: Mapping[Strength, Words]
    written: Words
    edits: Mapping[str, Mapping[str, Forms]]  # by type and group


@cache
def bank() -> Bank:
    """Read the forms."""
    return Bank.model_validate(load_yaml((files("filters.edits") / "words.yaml").read_bytes()))


def written_words() -> tuple[str, ...]:
    """Return the words that are written on images: letters, digits and marks of ASCII."""
    return bank().written


def sentence(wording: Wording, draws: Draws, direction: str, source_words: str = "") -> str:
    """Write one direction of an edit, drawn by key.

    Args:
        wording: the group of forms, and the values of their placeholders.
        draws: of this edit.
        direction: "edit" or "inverse", so that both are drawn apart.
        source_words: a caption of the image; used now and then if it fits into a sentence.
    """
    words = bank()
    form: str = draws.pick(f"{direction} form", words.edits[draws.name][wording.group])
    values = dict(wording.values)
    values["image"] = draws.pick(f"{direction} image", words.images)
    subject = named(source_words)
    if subject and draws.pick(f"{direction} subject", range(_WITH_SOURCE_WORDS)) == 0:
        values["image"] = f"the picture of {subject.first.removeprefix('the picture ')}"
    for name, degrees in (("more", words.more), ("by", words.by)):
        values[name] = draws.pick(f"{direction} {name}", degrees[wording.strength])
    if form[0].islower():
        request: str = draws.pick(f"{direction} request", words.requests)
        form = request.replace("{command}", form).replace("{Command}", form[0].upper() + form[1:])
    return filled(form, values)


def filled(form: str, values: Mapping[str, str]) -> str:
    """Insert values; a placeholder with a capital takes its value with one.

    >>> filled("Make it {more} larger. {The_thing} is small.", {"the_thing": "the owl"})
    'Make it larger. The owl is small.'
    """
    empty = [name for name in ("more", "by") if not values.get(name)]
    for name in empty:
        form = form.replace(f" {{{name}}}", "")

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name in values:
            return values[name]
        text = values[name[0].lower() + name[1:]]
        return text[:1].upper() + text[1:]

    return PLACEHOLDER.sub(value, form)
