"""Signals: measured values with a name, a type and a unit, without thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import pyarrow as pa
from PIL import Image

Values: TypeAlias = Mapping[str, Sequence[float | int | bool | str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The input of signals: one decoded image with its texts."""

    image: Image.Image  # RGB, upright, alpha flattened
    file_bytes: int  # size of the image as fetched
    text: str  # alt text, prompt or description as listed
    title: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One stored value of a signal, and the settings of its histogram."""

    name: str
    type: pa.DataType
    meaning: str  # one line, with the unit
    low: float = 0.0  # histogram range; values outside count in the first or last bin
    high: float = 1.0
    logarithmic: bool = False  # bins of equal ratio; needs low > 0

    @property
    def is_ordered(self) -> bool:
        """Whether more or less of it says anything: not so of hashes, words and lists."""
        return not (self.type in (pa.uint64(), pa.string()) or pa.types.is_nested(self.type))

    @property
    def field(self) -> "pa.Field[pa.DataType]":
        """The Arrow field of this column."""
        return pa.field(self.name, self.type, nullable=False, metadata={"meaning": self.meaning})


class Signal(Protocol):
    """Measures a batch of records; it has settings, but no state and no threshold."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of this signal."""
        ...

    def measure(self, records: Sequence[Record]) -> Values:
        """Return one sequence per column, as long as `records` and in the same order."""
        ...
