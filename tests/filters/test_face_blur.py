import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from filters.face_blur import CELLS, NO_BLUR, FaceBlur, pixel_box

SHARE = st.floats(0, 1)


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def test_no_box_returns_the_image_itself() -> None:
    image = noise(8, 8)
    assert NO_BLUR(image) is image
    assert not NO_BLUR


def test_pixels_outside_the_enlarged_box_stay() -> None:
    image = noise(200, 120)
    left, top, right, bottom = pixel_box((0.3, 0.3, 0.5, 0.7), image.size, 0.25)
    before = np.asarray(image).copy()
    after = np.asarray(FaceBlur(boxes=((0.3, 0.3, 0.5, 0.7, 0.9),), margin=0.25)(image))
    outside = np.ones((120, 200), bool)
    outside[top:bottom, left:right] = False
    assert (after[outside] == before[outside]).all()
    assert (np.asarray(image) == before).all()
    # Noise of a standard deviation of 74 levels; a mean over a cell leaves little of it.
    assert after[50:70, 65:95].std() < 15


def test_a_face_keeps_few_numbers_only() -> None:
    """Images with the same mean colours in CELLS x CELLS cells look the same when blurred."""
    side = CELLS * 10
    cells = np.random.default_rng(1).integers(60, 190, (CELLS, CELLS, 3))
    flat = np.kron(cells, np.ones((10, 10, 1))).astype(np.uint8)
    stripes = (flat + 40 * (np.indices((side, side, 1))[1] % 2 * 2 - 1)).astype(np.uint8)
    blur = FaceBlur(boxes=((0.0, 0.0, 1.0, 1.0),))
    one, other = (np.asarray(blur(Image.fromarray(x)), int) for x in (flat, stripes))
    middle = slice(10, side - 10)
    assert np.abs(one - other)[middle, middle].max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 5)])
def test_small_and_thin_images_are_blurred(size: tuple[int, int]) -> None:
    blurred = FaceBlur(boxes=((0.0, 0.0, 1.0, 1.0), (0.99, 0.99, 1.0, 1.0)), margin=2.0)(
        noise(*size)
    )
    assert blurred.size == size


@given(st.tuples(SHARE, SHARE, SHARE, SHARE), st.integers(1, 999), st.integers(1, 999), SHARE)
def test_a_box_lies_in_the_image(
    box: tuple[float, float, float, float], width: int, height: int, margin: float
) -> None:
    x0, x1 = sorted(box[::2])
    y0, y1 = sorted(box[1::2])
    left, top, right, bottom = pixel_box((x0, y0, x1, y1), (width, height), margin)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
