"""The protocol of image tokenizers, and the integer codes that are stored.

Shapes: B images, L codes per image (all scales), C channels, H and W pixels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Schedule = tuple[tuple[int, int], ...]
"""Height and width of every scale, in codes, small to large."""

CodeArray = NDArray[np.uint16 | np.uint32]

STORED_DTYPES = (np.dtype(np.uint16), np.dtype(np.uint32))


def count_codes(schedule: Schedule) -> int:
    """Return L, the number of codes of an image over all scales.

    >>> count_codes(((1, 1), (2, 2), (3, 4)))
    17
    """
    return sum(height * width for height, width in schedule)


def scale_slices(schedule: Schedule) -> tuple[slice, ...]:
    """Return the slice of each scale in the L codes of an image.

    >>> scale_slices(((1, 1), (2, 2)))
    (slice(0, 1, None), slice(1, 5, None))
    """
    ends = accumulate((height * width for height, width in schedule), initial=0)
    return tuple(slice(start, end) for start, end in pairwise(ends))


def check_schedule(schedule: Schedule) -> None:
    """Check that a schedule has scales, none is empty, and the last is the largest.

    Raises:
        ValueError: it has no scales, or a scale is empty or larger than the last.
    """
    if not schedule:
        raise ValueError("expected a schedule of one scale or more, got none")
    last_height, last_width = schedule[-1]
    for height, width in schedule:
        if not (1 <= height <= last_height and 1 <= width <= last_width):
            raise ValueError(f"scale {height}x{width} does not fit in the last of {schedule}")


def read_schedule(text: str) -> Schedule:
    """Parse a schedule written by `schedule_text`.

    Raises:
        ValueError: the text is no schedule.

    >>> read_schedule("1x1 2x3")
    ((1, 1), (2, 3))
    """
    sizes = (size.split("x") for size in text.split())
    return tuple((int(height), int(width)) for height, width in sizes)


def schedule_text(schedule: Schedule) -> str:
    """Format a schedule for a manifest.

    >>> schedule_text(((1, 1), (2, 3)))
    '1x1 2x3'
    """
    return " ".join(f"{height}x{width}" for height, width in schedule)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Codes:
    """The codes of B images: scales concatenated small to large, raster order in a scale.

    uint16 is for VAR's codebook indices, uint32 for bit codes, bit 0 the most significant. Codes
    of more than 32 bits have words along a third axis, the most significant first.

    Raises:
        ValueError: the array is not [B, L] or [B, L, W] for this schedule, or has another dtype.
    """

    values_BL: CodeArray
    schedule: Schedule

    def __post_init__(self) -> None:
        values, length = self.values_BL, count_codes(self.schedule)
        if values.dtype not in STORED_DTYPES:
            raise ValueError(f"codes must be uint16 or uint32, not {values.dtype}")
        if values.ndim not in (2, 3) or values.shape[1] != length:
            raise ValueError(f"codes must have shape [B, {length}], not {list(values.shape)}")

    def __len__(self) -> int:
        return len(self.values_BL)

    def scales(self) -> tuple[CodeArray, ...]:
        """Return the codes scale by scale, each [B, h, w] or [B, h, w, W]."""
        return tuple(
            self.values_BL[:, part].reshape(-1, *size, *self.values_BL.shape[2:])
            for part, size in zip(scale_slices(self.schedule), self.schedule, strict=True)
        )

    def pack(self) -> list[CodeArray]:
        """Return one contiguous [L] or [L, W] array per image, for the `.npy` of a shard."""
        return [np.ascontiguousarray(row) for row in self.values_BL]

    @classmethod
    def unpack(cls, rows: Iterable[CodeArray], schedule: Schedule) -> Self:
        """Build codes from arrays of `pack`, one per image, at least one.

        Raises:
            ValueError: there are no rows, lengths or dtypes differ, or do not fit the schedule.
        """
        arrays = list(rows)
        dtypes = sorted({array.dtype.name for array in arrays})
        if len(dtypes) != 1:
            raise ValueError(f"expected one or more rows of one dtype, got {dtypes}")
        return cls(values_BL=np.stack(arrays), schedule=schedule)


class Tokenizer(Protocol):
    """Turns images into codes and back; weights are loaded once per worker process."""

    schedule: Schedule
    """Size of every scale, small to large."""

    codes_dtype: "np.dtype[Any]"
    """Type of the stored codes, uint16 or uint32."""

    codes_limit: int
    """Exclusive upper bound of a stored integer."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images, in pixels."""
        ...

    def encode(self, images_NCHW: "torch.Tensor") -> Codes:
        """Tokenize float32 RGB images [B, 3, H, W] in [-1, 1].

        The codes of an image do not depend on other images in the batch.
        """
        ...

    def decode(self, codes: Codes) -> "torch.Tensor":
        """Return float32 images [B, 3, H, W] in [-1, 1]."""
        ...

    def with_schedule(self, schedule: Schedule) -> Self:
        """Return a tokenizer with the same weights for another schedule."""
        ...

    def describe(self) -> dict[str, str | int]:
        """Return the fields that the manifest needs for reading the codes again."""
        ...
