"""How many altered copies perceptual hashes find, and how many other images they take for copies.

    python tests/benchmarks/bench_duplicates.py [--drawings 1000] [--small 300]
        [--photos FOLDER ...]

Drawings are of openclipart (`python tools/openclipart.py fetch` and `list` lay them out), drawn by
hash: those with a shorter side of 256 px or more, and small ones. Photos are the JPEGs below
folders, each cut into 2 x 2 images. Of images that differ by less than 8 levels at 64 x 64 pixels
one is used.

Every image is altered in every way of `alterations.py`, and each copy compared with each original,
by pHash and by PDQ, with several limits on colours. Recall is the share of copies that are within
the distances of their original; precision is the share of pairs within them in which the copy is of
that original. Variants of one drawing count as different images.
"""

import argparse
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from alterations import ALTERATIONS
from measuring import ROOT, report
from PIL import Image

from filters.colour_layout import colour_layout
from filters.decode import DecodeError, decode
from filters.pdq import pdq
from filters.phash import phash
from filters.signal import Record

OPENCLIPART = ROOT / "build/openclipart"
MAX_PIXELS = 4_000_000
LEAST_SIDE = 256  # px, of the shorter side, as in the bundled drawings
LEAST_SMALL = 32  # px
THUMBNAIL, SAME = 64, 8.0  # px, levels
LEVELS = (12, 32, 255)  # between colours: the default of recipes, more, and any
BITS = {"phash": range(0, 17, 2), "pdq": (8, 16, 24, 31, 40, 48, 64)}


class Looks(NamedTuple):
    """What is compared of images, an entry an image."""

    phash: np.ndarray  # uint64 [n, 1]
    pdq: np.ndarray  # uint64 [n, 4]
    layout: np.ndarray  # uint8 [n, 48]


def drawings(count: int, *, small: bool) -> Iterator[Image.Image]:
    """Yield drawings of openclipart, in the order of the sha256 of their paths."""
    rows = map(json.loads, (OPENCLIPART / "openclipart.jsonl").read_text().splitlines())
    paths = sorted((row["path"] for row in rows), key=lambda p: hashlib.sha256(p.encode()).digest())
    sides = range(LEAST_SMALL, LEAST_SIDE) if small else range(LEAST_SIDE, MAX_PIXELS)
    return islice(decoded((OPENCLIPART / path for path in paths), sides), count)


def decoded(paths: Iterable[Path], sides: range) -> Iterator[Image.Image]:
    """Yield the images whose shorter side is in a range, px."""
    for path in paths:
        try:
            image = decode(path.read_bytes(), max_pixels=MAX_PIXELS)
        except DecodeError:
            continue
        if min(image.size) in sides:
            yield image


def quarters(folders: Iterable[Path]) -> Iterator[Image.Image]:
    """Yield the four quarters of each photo, which is first made 1,600 px wide or high."""
    paths = sorted(path for folder in folders for path in folder.rglob("*.jpg"))
    for path in paths:
        photo = decode(path.read_bytes(), max_pixels=10**8)
        photo.thumbnail((1600, 1600))
        x, y = photo.width // 2, photo.height // 2
        yield from (photo.crop((a, b, a + x, b + y)) for b in (0, y) for a in (0, x))


def distinct(images: Iterable[Image.Image]) -> list[Image.Image]:
    """Return the images that differ from each one before them."""
    found, small = list[Image.Image](), np.empty((0, 3 * THUMBNAIL**2), np.float32)
    for image in images:
        pixels = np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX), np.float32)
        if np.sqrt(((small - pixels.ravel()) ** 2).mean(axis=1)).min(initial=np.inf) >= SAME:
            found.append(image)
            small = np.concatenate([small, pixels.reshape(1, -1)])
    return found


def looks(images: Iterable[Image.Image]) -> Looks:
    """Measure images as the signals do."""
    phashes, pdqs, layouts = list[int](), bytearray(), bytearray()
    for image in images:
        phashes.append(phash(Record(image=image, file_bytes=0, text="", title="", tags=())))
        pdqs += bytes.fromhex(pdq(image))
        layouts += bytes.fromhex(colour_layout(image))
    return Looks(
        np.array(phashes, np.uint64).reshape(-1, 1),
        np.frombuffer(bytes(pdqs), np.uint64).reshape(-1, 4),
        np.frombuffer(bytes(layouts), np.uint8).reshape(len(phashes), -1),
    )


def bits_apart(a_NW: np.ndarray, b_MW: np.ndarray) -> np.ndarray:
    """Return the bits in which each hash of `a` differs from each of `b`: [N, M]."""
    apart = np.zeros((len(a_NW), len(b_MW)), np.int16)
    for a, b in zip(a_NW.T, b_MW.T, strict=True):
        apart += np.bitwise_count(a[:, None] ^ b)
    return apart


def levels_apart(a_NC: np.ndarray, b_MC: np.ndarray) -> np.ndarray:
    """Return the largest difference between colours of each `a` and each `b`: uint8 [N, M]."""
    most = np.zeros((len(a_NC), len(b_MC)), np.uint8)
    for a, b in zip(a_NC.T, b_MC.T, strict=True):
        most = np.maximum(most, np.maximum(a[:, None], b) - np.minimum(a[:, None], b))
    return most


def compared(copies: Looks, originals: Looks) -> dict[str, Any]:
    """Return the rates of each hash by the levels between colours, each at all distances."""
    levels = levels_apart(copies.layout, originals.layout)
    apart = {name: bits_apart(getattr(copies, name), getattr(originals, name)) for name in BITS}
    return {
        name: {
            most: rates([(bits <= distance) & (levels <= most) for distance in BITS[name]])
            for most in LEVELS
        }
        for name, bits in apart.items()
    }


def rates(found: Sequence[np.ndarray]) -> dict[str, list[float]]:
    """Return recall and precision in percent, and how many other images were found."""
    right = [int(near.trace()) for near in found]
    wrong = [int(near.sum()) - mine for near, mine in zip(found, right, strict=True)]
    pairs = list(zip(right, wrong, strict=True))
    return {
        "recall": [round(100 * mine / len(found[0]), 1) for mine in right],
        "precision": [round(100 * a / (a + b), 1) if a + b else 100.0 for a, b in pairs],
        "wrong_pairs": [*wrong],
    }


def one_set(images: Iterable[Image.Image]) -> dict[str, Any]:
    """Return the figures of a set of images, by alteration."""
    originals = distinct(images)
    before = looks(originals)

    def altered(alter: Callable[[Image.Image], bytes]) -> Looks:
        files = map(alter, originals)
        return looks(decode(file, max_pixels=2 * MAX_PIXELS) for file in files)

    return {
        "images": len(originals),
        "by_alteration": {
            name: compared(altered(alter), before) for name, alter in ALTERATIONS.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drawings", type=int, default=1000)
    parser.add_argument("--small", type=int, default=300)
    parser.add_argument("--photos", type=Path, nargs="*", default=[], metavar="FOLDER")
    options = parser.parse_args()
    sets = {
        "drawings": drawings(options.drawings, small=False),
        "small drawings": drawings(options.small, small=True),
        **({"photos": quarters(options.photos)} if options.photos else {}),
    }
    figures: dict[str, Any] = {"bits": {name: list(bits) for name, bits in BITS.items()}}
    figures["sets"] = {name: one_set(images) for name, images in sets.items()}
    report("duplicates", {**figures, "load": [round(load, 1) for load in os.getloadavg()]})


if __name__ == "__main__":
    main()
