"""Text that Pillow drew, really found and read."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from filters.scores.image_text import LONG_SIDE, READ_WIDTH, Text, _chosen, _size, text_in
from filters.scores.stock_sites import names_stock_site
from schemas.score_config import ImageTextScore

Draw = Callable[[Image.Image, str, tuple[int, int], int], Image.Image]
SITES = ImageTextScore(score="image_text").stock_sites


@pytest.fixture(scope="module")
def plain(astronaut: Image.Image) -> Image.Image:
    """A part of the photograph without any text."""
    return astronaut.crop((330, 0, 512, 150)).resize((546, 450))


def test_drawn_words_are_read_line_by_line(plain: Image.Image, draw: Draw) -> None:
    image = draw(draw(plain, "Hello", (60, 60), 50), "shutterstock", (150, 300), 40)
    found = text_in(image)
    assert found.words.splitlines() == ["Hello", "shutterstock"]
    assert names_stock_site(found.words, SITES)


def test_the_area_is_that_of_the_words(plain: Image.Image, draw: Draw) -> None:
    image = draw(plain, "Astronaut", (40, 150), 80)
    font = ImageFont.load_default(80)
    left, top, right, bottom = ImageDraw.Draw(image).textbbox((40, 150), "Astronaut", font=font)
    share = (right - left) * (bottom - top) / (plain.width * plain.height)
    assert text_in(image).area == pytest.approx(share, rel=0.35)
    # Also in an image that is brought to a smaller size, and filled up.
    large = image.resize((image.width * 3, image.height * 3))
    assert text_in(large).area == pytest.approx(share, rel=0.35)


@pytest.mark.parametrize("colour", ["white", "black", "grey"])
def test_a_picture_without_text_has_none(colour: str, plain: Image.Image) -> None:
    assert text_in(Image.new("RGB", (300, 200), colour)) == Text(area=0.0, words="")
    assert text_in(plain).words == ""


def test_all_lines_of_a_page_count_for_the_area_though_few_are_read() -> None:
    page = Image.new("RGB", (600, 480), "white")
    font = ImageFont.load_default(13)
    for y in range(4, 470, 20):
        line = "the quick brown fox jumps over the lazy dog and runs far away from the old house"
        ImageDraw.Draw(page).text((8, y), line, fill="black", font=font)
    found = text_in(page)
    assert found.area > 0.3
    assert 1 <= len(found.words.splitlines()) <= 4


def rectangle(width: float, height: float) -> np.ndarray:
    return np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)


def test_the_largest_lines_are_read_up_to_a_width() -> None:
    boxes = [rectangle(LONG_SIDE, 10)] * 3 + [rectangle(400, 30), rectangle(20, 100)]
    chosen = _chosen(boxes)
    assert chosen == [0, 3, 4]
    assert sum(_size(boxes[number])[1] for number in chosen) <= READ_WIDTH
    assert _chosen([rectangle(LONG_SIDE, 4)]) == []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("SHUTTERSTOCK", True),
        ("s h u t t e r s t o c k", True),
        ("photo: www.istockphoto.com/1234", True),
        ("Adobe\nStock", True),
        ("\uff41\uff4c\uff41\uff4d\uff59", True),  # full-width letters
        ("gettyimages\u00ae", True),
        ("hi stock", False),
        ("this tock", False),
        ("stock photo", True),
        ("livestockphoto", False),
        ("Alabama yacht", False),
        ("", False),
    ],
)
def test_stock_sites_are_named_in_any_case_and_spacing(words: str, named: bool) -> None:
    assert names_stock_site(words, SITES) == named


@pytest.mark.slow
def test_threads_may_read_side_by_side(plain: Image.Image, draw: Draw) -> None:
    images = [
        draw(plain, f"Word{number}", (20 * number, 40 * number), 30 + 4 * number)
        for number in range(8)
    ]
    with ThreadPoolExecutor(4) as threads:
        assert [*threads.map(text_in, images * 3)] == [*map(text_in, images)] * 3
