"""Copies of labelled images, and at which distances of dedup they are found."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from judged_rows import COLOURS, within
from labels import PNG, Labelled
from PIL import Image

from filters.colour_layout import colour_layout, layout_distance
from filters.phash import hamming, phash
from filters.signal import Record
from pipelines.runtime.images import decode_image
from schemas.recipe import DecodeConfig

DISTANCES_OF_COPIES = (0, 2, 4, 8)  # bits
QUALITY = 75
LARGE = 256  # px, short side


def as_jpeg(image: Image.Image) -> Image.Image:
    """Return an image as it is after it was saved as a JPEG."""
    saved = io.BytesIO()
    image.save(saved, "JPEG", quality=QUALITY)
    return Image.open(saved).convert("RGB")


def smaller(image: Image.Image) -> Image.Image:
    """Return an image with sides of three quarters, rounded down."""
    width, height = (max(1, side * 3 // 4) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


COPIES: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG": as_jpeg,
    "3/4 of the size": smaller,
    "JPEG at 3/4": lambda image: as_jpeg(smaller(image)),
}


def distances(image: Image.Image, copy: Image.Image) -> tuple[int, int]:
    """Return the distance between two images: bits, levels."""
    hashes = [phash(_record(each)) for each in (image, copy)]
    return hamming(*hashes), layout_distance(colour_layout(image), colour_layout(copy))


def copy_table(folder: Path, images: Sequence[Labelled]) -> Iterator[str]:
    """Yield the lines of the table of copies of the images that are not blank."""
    shown = [image for image in images if "blank" not in image.labels]
    measured: dict[str, list[tuple[int, int, int, int]]] = {name: [] for name in COPIES}
    for each in shown:
        image = decode_image((folder / PNG / each.paths[0]).read_bytes(), DecodeConfig())
        for name, make in COPIES.items():
            measured[name].append((0, min(image.size), *distances(image, make(image))))
    heads = [f"{bits} bits" for bits in DISTANCES_OF_COPIES]
    yield f"| copy | short side | images | {' | '.join(heads)} |"
    yield f"|---|---|{'--:|' * (1 + len(heads))}"
    for name, found in measured.items():
        copies = np.array(found)
        for said, least in (("any", 0), (f"{LARGE} px or more", LARGE)):
            large = copies[copies[:, 1] >= least]
            shares = [f"{within(large, bits, COLOURS).mean():.2f}" for bits in DISTANCES_OF_COPIES]
            yield f"| {name} | {said} | {len(large)} | {' | '.join(shares)} |"


def _record(image: Image.Image) -> Record:
    return Record(image=image, file_bytes=0, text="", title="", tags=())
