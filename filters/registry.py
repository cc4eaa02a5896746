"""The signals a recipe can name."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from filters.blank import Blank
from filters.colour_layout import ColourLayout
from filters.crop_loss import CropLoss
from filters.pdq import Pdq
from filters.phash import PHash
from filters.sharpness import Sharpness
from filters.signal import Column, Signal
from filters.size import Size
from filters.text_boilerplate import TextBoilerplate
from filters.text_length import TextLength

SIGNALS: dict[str, Callable[..., Signal]] = {
    "size": Size,
    "crop_loss": CropLoss,
    "blank": Blank,
    "sharpness": Sharpness,
    "phash": PHash,
    "pdq": Pdq,
    "colour_layout": ColourLayout,
    "text_length": TextLength,
    "text_boilerplate": TextBoilerplate,
}


def make_signal(name: str, settings: Mapping[str, Any] | None = None) -> Signal:
    """Return a signal; its settings are the fields of its class.

    Raises:
        KeyError: there is no signal with this name.
        ValueError: a setting is unknown, or its type differs from the default's.
    """
    made = SIGNALS[name]
    known: dict[str, Any] = {field.name: field.default for field in fields(made)}  # pyright: ignore[reportArgumentType]
    for setting, value in (settings or {}).items():
        if setting not in known:
            allowed = ", ".join(known) or "none"
            raise ValueError(f"{setting}: unknown setting of {name}; it has {allowed}")
        if type(value) is not type(known[setting]):
            kind = type(known[setting]).__name__
            raise ValueError(f"{setting}: expected {kind}, as {known[setting]!r}, got {value!r}")
    return made(**(settings or {}))


def columns(names: Iterable[str]) -> tuple[Column, ...]:
    """Return the columns of the named signals, in the order of the names.

    Raises:
        KeyError: a name is not in `SIGNALS`.
    """
    return tuple(column for name in names for column in SIGNALS[name]().columns)
