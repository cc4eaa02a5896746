from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from model.tokenizers.prepare import (
    adm_centre_crop,
    cover_crop,
    cover_size,
    to_model_input,
    var_centre_crop,
    view_box,
    view_crop,
)

SIDE = st.integers(1, 3000)
TARGET = st.integers(1, 600)
VIEW = st.integers(1, 100)


def noise(height: int, width: int) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


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


@pytest.mark.parametrize("raw", range(4))
def test_adm_crops_are_those_of_infinity_to_the_last_pixel(preproc_golden: Path, raw: int) -> None:
    cropped = adm_centre_crop(Image.open(preproc_golden / f"raw{raw}.png"), 256)
    golden = Image.open(preproc_golden / f"infinity_adm_center_{raw}_288_256.png")
    np.testing.assert_array_equal(cropped, np.asarray(golden))


@pytest.mark.parametrize("raw", range(4))
def test_var_crops_are_those_of_its_validation_to_the_last_pixel(
    preproc_golden: Path, raw: int
) -> None:
    cropped = var_centre_crop(Image.open(preproc_golden / f"raw{raw}.png"), 256)
    golden = Image.open(preproc_golden / f"var_val_aug_{raw}_256.png")
    np.testing.assert_array_equal(cropped, np.asarray(golden))


@pytest.mark.parametrize(
    ("short_side", "halvings"), [(35, 0), (36, 1), (37, 1), (71, 1), (72, 2), (144, 3)]
)
def test_adm_halves_an_image_while_it_stays_large_enough(short_side: int, halvings: int) -> None:
    image = noise(short_side, 2 * short_side + 1)
    halved = image
    for _ in range(halvings):
        halved = halved.resize((halved.width // 2, halved.height // 2), Image.Resampling.BOX)
    by_hand = halved.resize(
        (round(halved.width * (18 / halved.height)), 18), Image.Resampling.LANCZOS
    )
    left = (by_hand.width - 16) // 2
    np.testing.assert_array_equal(
        adm_centre_crop(image, 16), np.asarray(by_hand)[1:17, left : left + 16]
    )


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 40))
def test_centre_crops_have_the_size_asked_for_of_any_image(
    image_width: int, image_height: int, side: int
) -> None:
    white = Image.new("RGB", (image_width, image_height), "white")
    for crop in (adm_centre_crop, var_centre_crop):
        cropped = crop(white, side)
        assert cropped.shape == (side, side, 3)
        assert cropped.min() == 255, "nothing was cut from outside the image"


@given(SIDE, SIDE, TARGET, TARGET, st.text(), VIEW)
def test_a_view_lies_inside_its_covering_image(
    image_width: int, image_height: int, height: int, width: int, key: str, view: int
) -> None:
    size = image_width, image_height
    box = view_box(size, height, width, key=key, view=view)
    assert (box.width, box.height) == (width, height)
    assert box.covering == cover_size(size, round(1.125 * height), round(1.125 * width))
    assert 0 <= box.left <= box.covering[0] - width
    assert 0 <= box.top <= box.covering[1] - height
    assert box == view_box(size, height, width, key=key, view=view)


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 40), st.integers(1, 40), st.text())
def test_view_0_is_the_centre_crop(
    image_width: int, image_height: int, height: int, width: int, key: str
) -> None:
    image = noise(image_height, image_width)
    np.testing.assert_array_equal(
        view_crop(image, height, width, key=key, view=0), cover_crop(image, height, width)
    )


@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.integers(1, 40),
    st.integers(1, 40),
    st.text(),
    VIEW,
)
def test_a_view_is_the_part_of_the_covering_image_that_its_box_names(
    image_width: int, image_height: int, height: int, width: int, key: str, view: int
) -> None:
    image = noise(image_height, image_width)
    cropped = view_crop(image, height, width, key=key, view=view)
    box = view_box(image.size, height, width, key=key, view=view)
    covering = np.asarray(image.resize(box.covering, Image.Resampling.LANCZOS))
    assert cropped.shape == (height, width, 3)
    np.testing.assert_array_equal(
        cropped, covering[box.top : box.top + height, box.left : box.left + width]
    )


@pytest.mark.parametrize(
    ("view", "left", "top"), [(0, 85, 0), (1, 92, 10), (2, 136, 28), (3, 34, 1)]
)
def test_views_of_a_key_stay_where_they_are_in_every_version(
    view: int, left: int, top: int
) -> None:
    box = view_box((503, 301), 256, 256, key="0123456789abcdef" * 2, view=view)
    assert (box.left, box.top) == (left, top)


def test_views_of_a_wide_image_differ() -> None:
    boxes = [view_box((4000, 1000), 256, 256, key="key", view=view) for view in range(20)]
    assert len({(box.left, box.top) for box in boxes}) == len(boxes)
    image = noise(100, 400)
    crops = {view_crop(image, 32, 32, key="key", view=view).tobytes() for view in range(8)}
    assert len(crops) == 8


def test_the_same_view_of_other_samples_lies_elsewhere() -> None:
    boxes = [view_box((4000, 1000), 256, 256, key=f"key {n}", view=1) for n in range(20)]
    assert len({(box.left, box.top) for box in boxes}) == len(boxes)


@pytest.mark.parametrize("view", [1, 2])
def test_every_offset_is_reached_about_as_often(view: int) -> None:
    # 16 px of a 27 x 18 covering image: 12 x 3 places.
    boxes = [view_box((30, 20), 16, 16, key=str(n), view=view) for n in range(3600)]
    counts = Counter((box.left, box.top) for box in boxes)
    assert set(counts) == set(product(range(12), range(3)))
    # 100 are expected; 5 standard deviations are 49.
    assert min(counts.values()) > 50
    assert max(counts.values()) < 150


@given(SIDE, SIDE, st.text(), VIEW)
def test_a_view_shows_the_same_place_at_twice_the_resolution(
    image_width: int, image_height: int, key: str, view: int
) -> None:
    assume(1 / 20 < image_width / image_height < 20)
    small, large = (
        view_box((image_width, image_height), side, side, key=key, view=view) for side in (256, 512)
    )
    assert abs(2 * small.left - large.left) <= 3
    assert abs(2 * small.top - large.top) <= 3


def test_a_negative_view_is_refused() -> None:
    with pytest.raises(ValueError, match="a view of 0 or more, got -1"):
        view_crop(noise(20, 20), 16, 16, key="key", view=-1)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P"])
@pytest.mark.parametrize(
    "crop",
    [
        lambda image: cover_crop(image, 256, 256),
        lambda image: view_crop(image, 256, 256, key="key", view=1),
        lambda image: adm_centre_crop(image, 64),
        lambda image: var_centre_crop(image, 256),
    ],
    ids=["cover", "view", "adm", "var"],
)
def test_an_image_that_is_not_rgb_is_refused(
    mode: str, crop: Callable[[Image.Image], np.ndarray]
) -> None:
    with pytest.raises(ValueError, match=f"got mode '{mode}'"):
        crop(Image.new(mode, (300, 300)))


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
