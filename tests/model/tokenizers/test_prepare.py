from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from model.tokenizers.prepare import cover_crop, cover_size, to_model_input

SIDE = st.integers(1, 3000)


@pytest.mark.parametrize(
    ("raw", "height", "width"),
    [(0, 256, 256), (0, 320, 256), (1, 256, 256), (2, 256, 256), (3, 256, 256), (3, 320, 256)],
)
def test_crops_are_those_of_infinity_to_the_last_pixel(
    preproc_golden: Path, raw: int, height: int, width: int
) -> None:
    cropped = cover_crop(Image.open(preproc_golden / f"raw{raw}.png"), height, width)
    golden = Image.open(preproc_golden / f"infinity_transform_{raw}_{height}x{width}.png")
    assert cropped.dtype == np.uint8
    np.testing.assert_array_equal(cropped, np.asarray(golden))


@given(SIDE, SIDE, st.integers(1, 600), st.integers(1, 600))
def test_a_resized_image_covers_the_target_and_touches_it(
    image_width: int, image_height: int, height: int, width: int
) -> None:
    covering = cover_size((image_width, image_height), height, width)
    assert covering[0] >= width
    assert covering[1] >= height
    assert covering[0] == width or covering[1] == height


def test_rounding_never_leaves_the_cover_a_pixel_short() -> None:
    # 1 / (1 / 93) is a hair below 93 in float64.
    assert int(1 / (1 / 93)) == 92
    assert cover_size((1, 93), height=93, width=1) == (1, 93)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P"])
def test_an_image_that_is_not_rgb_is_refused(mode: str) -> None:
    with pytest.raises(ValueError, match=f"got mode '{mode}'"):
        cover_crop(Image.new(mode, (300, 300)), 256, 256)


def test_every_pixel_value_is_scaled_as_the_reference_does() -> None:
    values = np.arange(256, dtype=np.uint8)
    images = np.stack([values, values[::-1], values], axis=-1).reshape(1, 16, 16, 3)
    tensor = to_model_input(images)
    unit = torch.from_numpy(images.copy()).permute(0, 3, 1, 2).float().div(255)
    assert torch.equal(tensor, unit.add(unit).add(-1))
    assert tensor.is_contiguous()
    assert (tensor.min().item(), tensor.max().item()) == (-1.0, 1.0)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((1, 3, 4, 4), np.uint8),
    ],
)
def test_other_shapes_and_dtypes_are_refused(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 \[N, H, W, 3\]"):
        to_model_input(images)
