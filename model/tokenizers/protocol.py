"""What every image tokenizer offers, and the integer codes that are stored.

Shapes: B images, L codes an image (all scales), C channels, H and W pixels.
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
    """Return L, the number of codes one image has over all scales.

    >>> count_codes(((1, 1), (2, 2), (3, 4)))
    17
    """
    return sum(height * width for height, width in schedule)


def scale_slices(schedule: Schedule) -> tuple[slice, ...]:
    """Return where each scale lies among the L codes of an image.

    >>> scale_slices(((1, 1), (2, 2)))
    (slice(0, 1, None), slice(1, 5, None))
    """
    ends = accumulate((height * width for height, width in schedule), initial=0)
    return tuple(slice(start, end) for start, end in pairwise(ends))


def check_schedule(schedule: Schedule) -> None:
    """Check that a schedule is one at all: it ends at its largest scale, and none is empty.

    Raises:
        ValueError: it is not.
    """
    if not schedule:
        raise ValueError("a schedule has one scale or more")
    last_height, last_width = schedule[-1]
    for height, width in schedule:
        if not (1 <= height <= last_height and 1 <= width <= last_width):
            raise ValueError(f"scale {height}x{width} does not fit in the last of {schedule}")


def read_schedule(text: str) -> Schedule:
    """Read a schedule as `schedule_text` writes it.

    Raises:
        ValueError: it is none.

    >>> read_schedule("1x1 2x3")
    ((1, 1), (2, 3))
    """
    sizes = (size.split("x") for size in text.split())
    return tuple((int(height), int(width)) for height, width in sizes)


def schedule_text(schedule: Schedule) -> str:
    """Write a schedule as a manifest holds it.

    >>> schedule_text(((1, 1), (2, 3)))
    '1x1 2x3'
    """
    return " ".join(f"{height}x{width}" for height, width in schedule)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Codes:
    """The codes of B images: scales concatenated small to large, raster order in a scale.

    uint16 holds VAR's codebook indices; uint32 holds bit codes, bit 0 the most significant. Codes
    of more than 32 bits take words along a third axis, the most significant first.

    Raises:
        ValueError: the array is not [B, L] or [B, L, W] for this schedule, or not of a stored
            dtype.
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
        """Return one contiguous [L] or [L, W] array an image, as a shard's `.npy` holds it."""
        return [np.ascontiguousarray(row) for row in self.values_BL]

    @classmethod
    def unpack(cls, rows: Iterable[CodeArray], schedule: Schedule) -> Self:
        """Build codes from the arrays that `pack` returned, one an image, at least one.

        Raises:
            ValueError: no rows, rows of different lengths or dtypes, or not of this schedule.
        """
        arrays = list(rows)
        dtypes = sorted({array.dtype.name for array in arrays})
        if len(dtypes) != 1:
            raise ValueError(f"rows must be one or more, of one dtype, not {dtypes}")
        return cls(values_BL=np.stack(arrays), schedule=schedule)


class Tokenizer(Protocol):
    """Turns images into codes and back; its weights are loaded once a worker process."""

    schedule: Schedule
    """Size of every scale, small to large."""

    codes_dtype: "np.dtype[Any]"
    """How the codes are stored, uint16 or uint32."""

    codes_limit: int
    """Exclusive upper bound of a stored integer."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images, in pixels."""
        ...

    def encode(self, images_NCHW: "torch.Tensor") -> Codes:
        """Tokenize float32 RGB images [B, 3, H, W] in [-1, 1].

        The codes of an image do not depend on its neighbours in the batch.
        """
        ...

    def decode(self, codes: Codes) -> "torch.Tensor":
        """Return float32 images [B, 3, H, W] in [-1, 1]."""
        ...

    def with_schedule(self, schedule: Schedule) -> Self:
        """Return a tokenizer of the same weights for another schedule."""
        ...

    def describe(self) -> dict[str, str | int]:
        """Return what the manifest must say for the codes to be read again."""
        ...
