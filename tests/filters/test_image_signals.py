import io
import math
from collections import Counter
from collections.abc import Sequence
from functools import partial

import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from filters.blank import Blank
from filters.colour_layout import ColourLayout, colour_layout, layout_distance
from filters.decode import decode, decode_scaled
from filters.phash import PHash, hamming
from filters.sharpness import Sharpness
from filters.signal import Record, least_side, suffices
from filters.size import Size


def record(image: Image.Image, file_bytes: int = 1000) -> Record:
    return Record(image=image, file_bytes=file_bytes, text="", title="", tags=())


def blank_fraction(image: Image.Image) -> float:
    return Blank().measure([record(image)])["blank_fraction"][0]


def entropy(image: Image.Image) -> float:
    return Blank().measure([record(image)])["entropy"][0]


def sharpness(image: Image.Image) -> float:
    return Sharpness().measure([record(image)])["sharpness"][0]


def phash(image: Image.Image) -> int:
    return PHash().measure([record(image)])["phash"][0]


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
    """Count the pixels near the most common colour of the most common cell of 8 x 8 x 8 levels."""
    colours = [tuple(map(int, pixel)) for row in pixels for pixel in row]
    cells = [tuple(level // 8 for level in colour) for colour in colours]

    def first(counted: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        return min(Counter(counted).items(), key=lambda item: (-item[1], item[0]))[0]

    cell = first(cells)
    top = first([colour for colour, its in zip(colours, cells, strict=True) if its == cell])
    near = [max(abs(a - b) for a, b in zip(colour, top, strict=True)) <= 8 for colour in colours]
    return sum(near) / len(near)


@given(st.lists(st.sampled_from((0, 7, 8, 9, 16, 40, 247, 255)), min_size=27, max_size=27))
def test_blank_fraction_equals_counting_by_hand(levels: Sequence[int]) -> None:
    pixels = np.array(levels, np.uint8).reshape(3, 3, 3)
    assert blank_fraction(Image.fromarray(pixels)) == brute_force_fraction(pixels)


def test_blank_fraction_of_a_photograph_equals_counting_by_hand() -> None:
    pixels = np.random.default_rng(3).normal(120, 6, (64, 64, 3)).astype(np.uint8)
    assert 0.1 < blank_fraction(Image.fromarray(pixels)) == brute_force_fraction(pixels) < 0.9


def test_a_flat_background_among_many_colours_is_the_most_common_colour() -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    pixels[:60] = (130, 127, 128)
    assert blank_fraction(Image.fromarray(pixels)) == pytest.approx(0.6, abs=0.002)


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
    assert sharpness(scene(256)) == pytest.approx(np.var(inner), rel=1e-12)
    assert sharpness(Image.new("RGB", (256, 256), "teal")) == 0


@pytest.mark.parametrize("side", [554, 560, 700, 1024, 1400, 2300])
def test_scaled_images_have_the_signals_of_whole_ones_or_nearly(side: int) -> None:
    file = io.BytesIO()
    scene(side).save(file, "JPEG", quality=90)
    enough = partial(suffices, side=256)
    whole = record(decode(file.getvalue(), max_pixels=10**7))
    scaled = record(decode_scaled(file.getvalue(), max_pixels=10**7, suffices=enough).image)
    assert scaled.image.width < 554 <= whole.image.width
    for signal, near in ((Sharpness(), 0.25), (Blank(), 0.05)):
        for name, [value] in signal.measure([whole]).items():
            assert signal.measure([scaled])[name] == [pytest.approx(value, rel=near)], name
    assert hamming(phash(scaled.image), phash(whole.image)) <= 2
    layouts = colour_layout(scaled.image), colour_layout(whole.image)
    assert layout_distance(*layouts) <= 2


def hamming_weights(length: int, side: int) -> np.ndarray:
    """Return the weights [side, length] of a Hamming-windowed sinc as wide as a pixel of `side`."""
    scale = max(1.0, length / side)
    centres = (np.arange(side) + 0.5) * length / side
    x = np.abs(np.arange(length)[None] + 0.5 - centres[:, None]) / scale
    window = np.sinc(x) * (0.54 + 0.46 * np.cos(math.pi * x)) * (x < 1)
    return window / window.sum(1, keepdims=True)


@pytest.mark.parametrize("size", [(40, 30), (17, 64), (9, 5)])
def test_a_thumbnail_is_the_luminance_resized_by_a_hamming_window(size: tuple[int, int]) -> None:
    width, height = size
    pixels = np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)
    grey = (pixels @ (0.299, 0.587, 0.114)).round()
    expected = hamming_weights(height, 16) @ grey @ hamming_weights(width, 16).T
    found = np.asarray(record(Image.fromarray(pixels)).thumbnail(16)).astype(float)
    assert np.abs(found - expected.clip(0, 255)).max() <= 2


def test_signals_share_the_grey_picture_and_the_thumbnail() -> None:
    one = record(scene(300))
    assert one.grey is one.grey
    assert one.thumbnail() is one.thumbnail(256)
    assert one.thumbnail(64) is not one.thumbnail()
    Sharpness(side=64).measure([one])
    assert one.thumbnail(64).size == (64, 64)


@pytest.mark.parametrize(
    ("size", "side", "enough"),
    [
        ((280, 274), 256, True),
        ((279, 274), 256, False),
        ((598, 128), 256, True),
        ((610, 127), 256, False),
        ((10_000, 10_000), None, False),
        ((0, 0), 0, True),
    ],
)
def test_an_image_may_be_scaled_to_a_sixth_more_than_the_square_that_a_signal_needs(
    size: tuple[int, int], side: int | None, enough: bool
) -> None:
    assert suffices(*size, side) == enough


def test_the_signal_that_needs_the_largest_image_decides() -> None:
    class Whole:
        columns = ()

        def measure(self, records):
            return {}

    assert least_side([]) == least_side([Size()]) == 0
    assert least_side([Size(), Blank(), Sharpness(side=300)]) == 300
    assert least_side([Sharpness(), Whole()]) is None


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_extreme_shapes_are_measured_too(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, "navy")
    assert blank_fraction(image) == 1
    assert sharpness(image) == 0
    assert 0 <= phash(image) < 2**64


def small_grey(image: Image.Image) -> Image.Image:
    return image.convert("L").resize((32, 32), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("image", [scene(300), gradient(), Image.new("RGB", (70, 50), "teal")])
def test_phash_is_the_number_that_imagehash_prints_for_32_px(image: Image.Image) -> None:
    assert f"{phash(image):016x}" == str(imagehash.phash(small_grey(image)))


def test_phash_says_which_low_frequencies_are_above_their_median() -> None:
    n = np.arange(32)
    cosines = np.cos(math.pi * n[:, None] * (2 * n + 1) / 64)  # of DCT-II, unscaled
    low = (cosines @ np.asarray(small_grey(scene(300))).astype(float) @ cosines.T)[:8, :8]
    bits = "".join("1" if value > np.median(low) else "0" for value in low.ravel())
    assert phash(scene(300)) == int(bits, 2)


def test_signals_of_a_scaled_image_leave_out_what_shows_nothing_of_its_file() -> None:
    image = scene(300)
    wider = image.transform((302, 302), Image.Transform.EXTENT, (-2, 0, 300, 302))
    wider.paste(image, (2, 0))
    boxed = Record(image=wider, box=(2, 0, 302, 300), file_bytes=1, text="", title="", tags=())
    assert hamming(PHash().measure([boxed])["phash"][0], phash(image)) <= 4
    assert ColourLayout().measure([boxed]) == {"colour_layout": [colour_layout(image)]}
    assert Sharpness().measure([boxed])["sharpness"] == [pytest.approx(sharpness(image), rel=0.05)]


def test_phash_is_close_for_a_resized_copy_and_far_for_another_image() -> None:
    small = scene(512).resize((200, 200))
    assert hamming(phash(scene(512)), phash(small)) <= 4
    assert hamming(phash(scene(512)), phash(scene(512).rotate(90))) >= 16


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_hamming_counts_differing_bits(a: int, b: int) -> None:
    assert hamming(a, b) == sum(x != y for x, y in zip(f"{a:064b}", f"{b:064b}", strict=True))
