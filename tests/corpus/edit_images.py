"""Images that edits are made of: drawings of the bundled corpus, and shapes with one property."""

import json
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CORPUS = Path(__file__).parent
Titled = tuple[Image.Image, str]
WHITE = (255, 255, 255)


def load(file: Path, side: int = 512) -> Image.Image:
    """Decode an image, at most `side` px wide and high: RGBA where it has alpha, else RGB."""
    image = Image.open(file)
    image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    image.thumbnail((side, side))
    return image


@cache
def drawings(most: int = 400, side: int = 512) -> list[Titled]:
    """Return drawings of the corpus with their titles."""
    rows = map(json.loads, (CORPUS / "demo.jsonl").read_text().splitlines())
    files = [(CORPUS / row["url"], row["title"]) for row in rows if "url" in row]
    found = [each for each in files if each[0].suffix == ".png" and "openclipart/" in str(each[0])]
    return [(load(file, side), title) for file, title in found[:most] if file.is_file()]


def shape(size: int = 200) -> Image.Image:
    """Return an irregular coloured figure on a transparent ground."""
    image = Image.new("RGBA", (size, size))
    canvas = ImageDraw.Draw(image)
    part = size / 10
    canvas.polygon([(part, 8 * part), (5 * part, part), (9 * part, 8 * part)], fill=(200, 60, 30))
    canvas.ellipse((5 * part, 5 * part, 8 * part, 9 * part), fill=(30, 90, 200))
    return image


def photo(width: int = 240, height: int = 200) -> Image.Image:
    """Return smooth coloured noise that fills its frame."""
    noise = np.random.default_rng(3).integers(0, 256, (12, 12, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def plain(colour: tuple[int, int, int] = WHITE, size: int = 200) -> Image.Image:
    """Return one colour."""
    return Image.new("RGB", (size, size), colour)


OTHERS: list[Titled] = [
    (shape(), "a strange hill"),
    (shape().transpose(Image.Transpose.FLIP_TOP_BOTTOM), "red kite"),
    (photo(), "a coloured fog"),
]
