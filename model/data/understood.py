"""Images that a sample asks about, as Qwen2-VL's image processor cuts them into patches."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from transformers import Qwen2VLImageProcessorPil


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Patches:
    """One understood image."""

    pixel_values: NDArray[np.float32]  # [patches, values of one]
    grid_thw: tuple[int, int, int]  # patches in time, height and width
    tokens: int  # <|image_pad|> that stand for it


def cut_patches(image: Image.Image, processor: "Qwen2VLImageProcessorPil") -> Patches:
    """Return the patches of an image."""
    found = processor(images=[image], return_tensors="np")
    grid = tuple(found["image_grid_thw"][0].tolist())
    return Patches(
        pixel_values=found["pixel_values"].astype(np.float32, copy=False),
        grid_thw=grid,
        tokens=int(np.prod(grid)) // processor.merge_size**2,
    )
