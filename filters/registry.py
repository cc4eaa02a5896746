"""The signals a recipe can name."""

from collections.abc import Callable, Iterable

from filters.blank import Blank
from filters.colour_layout import ColourLayout
from filters.phash import PHash
from filters.sharpness import Sharpness
from filters.signal import Column, Signal
from filters.size import Size
from filters.text_boilerplate import TextBoilerplate
from filters.text_length import TextLength

SIGNALS: dict[str, Callable[[], Signal]] = {
    "size": Size,
    "blank": Blank,
    "sharpness": Sharpness,
    "phash": PHash,
    "colour_layout": ColourLayout,
    "text_length": TextLength,
    "text_boilerplate": TextBoilerplate,
}


def columns(names: Iterable[str]) -> tuple[Column, ...]:
    """Return the columns of the named signals, in the order of the names.

    Raises:
        KeyError: if a name is not in `SIGNALS`.
    """
    return tuple(column for name in names for column in SIGNALS[name]().columns)
