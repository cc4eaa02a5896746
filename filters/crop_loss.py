"""The signal of what the tokenizer's crop cuts away."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from filters.aspects import nearest_aspect
from filters.signal import Column, Record, Values


@dataclass(frozen=True, slots=True, kw_only=True)
class CropLoss:
    """Share of the picture that is outside the crop of `vq_tokens`. Costs nothing.

    An image of height / width `a` that is cut to shape `b` loses 1 - min(a, b) / max(a, b). The
    shape is the square, or for `buckets` the nearest of Infinity's 15. The build sets `aspects` to
    what `vq_tokens.aspects` says.
    """

    aspects: str = "square"  # or buckets

    def __post_init__(self) -> None:
        if self.aspects not in ("square", "buckets"):
            raise ValueError(f"aspects: expected square or buckets, got {self.aspects!r}")

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of this signal."""
        return COLUMNS

    def measure(self, records: Sequence[Record]) -> Values:
        """Return one sequence per column, as long as `records` and in the same order."""
        return {"crop_loss": [self._loss(*record.image.size) for record in records]}

    def _loss(self, width: int, height: int) -> float:
        found = height / width
        shape = nearest_aspect(height, width) if self.aspects == "buckets" else 1.0
        return 1 - min(found, shape) / max(found, shape)


COLUMNS = (
    Column(
        name="crop_loss",
        type=pa.float64(),
        meaning="share of the picture that the tokenizer's crop cuts away, 0..1",
    ),
)
