"""The facts of a training that its card tells, and the names of the files beside the weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

FIGURES: Final = "training.json"
CARD: Final = "README.md"
UNREADABLE_SHOWN: Final = 3  # images listed in the card; training.json lists all


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """The facts of a run in the card, without its figures."""

    data: str  # description of the training images
    licence: str  # of the data
    command: str
    images: int  # to train on
    subjects: int  # different titles among them
    held_out: float  # share of the groups
    unreadable: Mapping[str, str]  # image -> reason
    plan: str
    teacher: str  # description of the model that taught this one; "" for none
    machine: str


def unreadable_line(facts: Facts) -> str:
    """Return a sentence that names some of the images that could not be used, or ""."""
    if not facts.unreadable:
        return ""
    first = [
        f"`{name}` ({why})" for name, why in islice(facts.unreadable.items(), UNREADABLE_SHOWN)
    ]
    more = len(facts.unreadable) - len(first)
    listed = ", ".join(first) + (f" and {more} more" if more else "")
    return f"{len(facts.unreadable)} could not be used: {listed}. "
