"""The perceptual hash PDQ, in which lists of known images are exchanged (ThreatExchange)."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from filters.signal import Column, Record, Values
from schemas.store.errors import CorpusError

MISSING = "PDQ needs the package pdqhash: pip install 'vargpt-corpus[lists]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pdq:
    """256-bit perceptual hash of Meta's PDQ. 29 ms per megapixel.

    Two images are alike within 31 bits, by Meta's recommendation. Images without detail have hashes
    that say little: PDQ's own quality is 0 to 100 and not stored.
    """

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of this signal."""
        return COLUMNS

    def measure(self, records: Sequence[Record]) -> Values:
        """Return one sequence per column, as long as `records` and in the same order."""
        return {"pdq": [pdq(record.image) for record in records]}


def pdq(image: Image.Image) -> str:
    """Return the PDQ of an RGB image: 64 hex digits.

    Raises:
        CorpusError: the package pdqhash is missing.
    """
    if not has_pdq():
        raise CorpusError(MISSING)
    pdqhash: Any = import_module("pdqhash")  # which has no types
    bits, _ = pdqhash.compute(np.ascontiguousarray(image))
    return np.packbits(np.asarray(bits, np.uint8)).tobytes().hex()


def has_pdq() -> bool:
    """Return whether the package is there."""
    return find_spec("pdqhash") is not None


COLUMNS = (
    Column(
        name="pdq",
        type=pa.string(),
        meaning="256-bit perceptual hash PDQ, 64 hex digits, compared by Hamming distance",
    ),
)
