import io

import pytest
from PIL import Image, ImageDraw

from filters.colour_layout import ColourLayout, colour_layout, layout_distance
from filters.phash import hamming, phash
from filters.signal import Record


def stripes(*colours: str) -> Image.Image:
    image = Image.new("RGB", (600, 300 * len(colours) // 3))
    draw = ImageDraw.Draw(image)
    for number, colour in enumerate(colours):
        draw.rectangle((0, 100 * number, 600, 100 * number + 99), fill=colour)
    return image


def record(image: Image.Image) -> Record:
    return Record(image=image, file_bytes=1, text="", title="", tags=())


def test_flags_that_share_a_phash_lie_far_apart() -> None:
    estonia, germany = stripes("#0072ce", "black", "white"), stripes("black", "#dd0000", "#ffcc00")
    hashes = [phash(record(image)) for image in (estonia, germany)]
    assert hamming(*hashes) <= 10
    assert layout_distance(colour_layout(estonia), colour_layout(germany)) > 100


@pytest.mark.parametrize("size", [(600, 300), (300, 150), (256, 128)])
def test_a_smaller_jpeg_of_an_image_stays_near(size: tuple[int, int]) -> None:
    image = stripes("#0072ce", "black", "white")
    file = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(file, "JPEG", quality=70)
    assert layout_distance(colour_layout(image), colour_layout(Image.open(file))) <= 3


def test_a_layout_names_the_cells_row_by_row() -> None:
    image = Image.new("RGB", (8, 8), (1, 2, 3))
    image.paste((255, 0, 0), (6, 0, 8, 2))
    assert colour_layout(image) == "010203" * 3 + "ff0000" + "010203" * 12


def test_the_signal_measures_every_record() -> None:
    image = stripes("red", "white", "blue")
    measured = ColourLayout().measure([record(image), record(image)])
    assert measured == {"colour_layout": [colour_layout(image)] * 2}
