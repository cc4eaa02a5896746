from collections.abc import Sequence

import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from filters.blank import Blank
from filters.phash import PHash, hamming, phash
from filters.sharpness import Sharpness
from filters.signal import Record
from filters.size import Size


def record(image: Image.Image, file_bytes: int = 1000) -> Record:
    return Record(image=image, file_bytes=file_bytes, text="", title="", tags=())


def blank_fraction(image: Image.Image) -> float:
    return Blank().measure([record(image)])["blank_fraction"][0]


def entropy(image: Image.Image) -> float:
    return Blank().measure([record(image)])["entropy"][0]


def sharpness(image: Image.Image) -> float:
    return Sharpness().measure([record(image)])["sharpness"][0]


def scene(side: int) -> Image.Image:
    """Draw the same shapes at any resolution."""
    image = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(image)
    for step in range(1, 8):
        box = [side * step // 11, side * step // 12, side * (20 - step) // 20, side * 9 // 10]
        draw.ellipse(box, fill=(30 * step, 255 - 30 * step, 90))
    return image


def gradient() -> Image.Image:
    """Hold every grey level equally often."""
    levels = np.repeat(np.arange(256, dtype=np.uint8), 256).reshape(256, 256)
    return Image.fromarray(levels).convert("RGB")


def test_size_is_measured_for_each_record_in_order() -> None:
    values = Size().measure(
        [record(Image.new("RGB", (30, 20)), 7), record(Image.new("RGB", (2, 8)))]
    )
    assert values == {
        "width": [30, 2],
        "height": [20, 8],
        "short_side": [20, 2],
        "aspect": [1.5, 0.25],
        "pixels": [600, 16],
        "file_bytes": [7, 1000],
    }


@pytest.mark.parametrize(("away", "fraction"), [(7, 1.0), (8, 1.0), (9, 0.75)])
def test_blank_fraction_counts_colours_within_its_tolerance(away: int, fraction: float) -> None:
    pixels = np.full((16, 16, 3), 100, np.uint8)
    pixels[:4, :, 2] += away
    assert blank_fraction(Image.fromarray(pixels)) == fraction


def test_blank_fraction_takes_the_commonest_colour_and_not_the_brightest() -> None:
    pixels = np.zeros((10, 10, 3), np.uint8)
    pixels[:4] = 255
    assert blank_fraction(Image.fromarray(pixels)) == 0.6


def brute_force_fraction(pixels: np.ndarray) -> float:
    colours = [tuple(map(int, pixel)) for row in pixels for pixel in row]
    top = min(sorted(set(colours)), key=lambda colour: -colours.count(colour))
    near = [max(abs(a - b) for a, b in zip(pixel, top, strict=True)) <= 8 for pixel in colours]
    return sum(near) / len(near)


@given(st.lists(st.integers(0, 40), min_size=27, max_size=27))
def test_blank_fraction_equals_counting_by_hand(levels: Sequence[int]) -> None:
    pixels = np.array(levels, np.uint8).reshape(3, 3, 3)
    assert blank_fraction(Image.fromarray(pixels)) == brute_force_fraction(pixels)


def test_blank_fraction_of_a_large_line_drawing_is_the_share_of_its_paper() -> None:
    image = Image.new("RGB", (2000, 1500), "white")
    draw = ImageDraw.Draw(image)
    for x in range(0, 2000, 20):
        draw.line([(x, 0), (2 * x % 2000, 1500)], fill="black")
    exact = np.mean(np.asarray(image)[..., 0] == 255)
    assert blank_fraction(image) == pytest.approx(exact, abs=0.005)


def test_entropy_is_0_for_one_colour_1_for_two_and_8_for_all_levels() -> None:
    halves = Image.new("RGB", (8, 8), "white")
    halves.paste("black", (0, 0, 4, 8))
    assert entropy(Image.new("RGB", (8, 8), "teal")) == 0
    assert entropy(halves) == 1
    assert entropy(gradient()) == 8


def test_a_blurred_image_is_less_sharp() -> None:
    sharp = scene(512)
    values = [sharpness(sharp.filter(ImageFilter.GaussianBlur(radius))) for radius in (0, 2, 6)]
    assert values[0] > 3 * values[1] > 9 * values[2] > 0


def test_sharpness_hardly_depends_on_the_resolution() -> None:
    values = [sharpness(scene(side)) for side in (512, 1024, 2048)]
    assert max(values) < 1.5 * min(values)


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    levels = np.asarray(scene(256).convert("L")).astype(float)
    inner = [
        4 * levels[y, x] - levels[y - 1, x] - levels[y + 1, x] - levels[y, x - 1] - levels[y, x + 1]
        for y in range(1, 255)
        for x in range(1, 255)
    ]
    assert sharpness(scene(256)) == pytest.approx(np.var(inner))
    assert sharpness(Image.new("RGB", (256, 256), "teal")) == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_extreme_shapes_are_measured_too(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, "navy")
    assert blank_fraction(image) == 1
    assert sharpness(image) == 0
    assert 0 <= phash(image) < 2**64


def test_phash_is_the_number_imagehash_prints() -> None:
    image = scene(300)
    assert f"{phash(image):016x}" == str(imagehash.phash(image))
    assert PHash().measure([record(image)]) == {"phash": [phash(image)]}


def test_phash_is_close_for_a_resized_copy_and_far_for_another_image() -> None:
    small = scene(512).resize((200, 200))
    assert hamming(phash(scene(512)), phash(small)) <= 4
    assert hamming(phash(scene(512)), phash(scene(512).rotate(90))) >= 16


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_hamming_counts_differing_bits(a: int, b: int) -> None:
    assert hamming(a, b) == sum(x != y for x, y in zip(f"{a:064b}", f"{b:064b}", strict=True))
