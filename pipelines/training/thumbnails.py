"""Small squares of listed images, decoded once and kept in a file that is mapped into memory."""

import json
import os
import posixpath
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from filters.decode import DecodeError
from pipelines.runtime.images import decode_image
from pipelines.training.images import MAX_ASPECT, MAX_PIXELS, ImageFile, read_image
from schemas.fingerprint import fingerprint
from schemas.recipe import DecodeConfig
from schemas.store.retries import open_fs
from schemas.store.storage import CorpusError
from schemas.store.whole_file import publish

WHITE = (255, 255, 255)
PIXELS, INDEX = "thumbnails.npy", "thumbnails.json"
TASK = 32  # images per task of a process


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedImage:
    """A row of a list, and the place of its image."""

    file: ImageFile
    row: dict[str, Any]  # with title, text, tags and author


def listed_images(url: str) -> list[ListedImage]:
    """Read a list: JSON lines with path, title, text, tags and author; paths relative to the list.

    Raises:
        CorpusError: there is no list, or a line is no row of one.
    """
    fs, path = open_fs(url)
    folder, name = posixpath.split(path)
    try:
        lines = fs.cat_file(path).decode().splitlines()
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise CorpusError(f"--list {url}: {type(error).__name__}: {error}") from error
    return [_listed(line, url, number, fs, folder, name) for number, line in enumerate(lines, 1)]


def _listed(line: str, url: str, number: int, fs: Any, folder: str, name: str) -> ListedImage:
    try:
        row = json.loads(line)
        path = row["path"]
        texts = {key: row[key] for key in ("title", "text", "author")}
        if not all(isinstance(text, str) for text in [path, *texts.values(), *row["tags"]]):
            raise TypeError("a value is not text")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorpusError(
            f"--list {url}: line {number}: {type(error).__name__}: {error}; expected a JSON object "
            "with path, title, text, author and a list of tags"
        ) from error
    file = ImageFile(
        name=f"{posixpath.splitext(name)[0]}/{path}",
        url=fs.unstrip_protocol(posixpath.join(folder, path)),
    )
    return ListedImage(file=file, row=row)


def thumbnails(
    images: Sequence[ImageFile], side: int, folder: Path
) -> tuple[NDArray[np.uint8], dict[str, str]]:
    """Decode images once, whole on a white square of `side` px; read them from `folder` later.

    Returns:
        uint8 [N, side, side, 3], mapped into memory, white where an image is unreadable; and the
        unreadable images with their reasons.

    Raises:
        CorpusError: no image can be read.
    """
    names = fingerprint([image.name for image in images], side)
    if (folder / INDEX).exists():
        index = json.loads((folder / INDEX).read_text())
        if index["images"] == names:
            return np.load(folder / PIXELS, mmap_mode="r"), index["unreadable"]
        (folder / INDEX).unlink()  # the pixels are about to be others
    shape = (len(images), side, side, 3)
    pixels = np.lib.format.open_memmap(folder / PIXELS, "w+", np.uint8, shape)
    unreadable: dict[str, str] = {}
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        squares = processes.map(_square, images, [side] * len(images), chunksize=TASK)
        for number, (image, square) in enumerate(zip(images, squares, strict=True)):
            if isinstance(square, str):
                unreadable[image.name] = square
                pixels[number] = 255
            else:
                pixels[number] = square
    if len(unreadable) == len(images):  # nothing is kept, so that mended images are read again
        first = images[0].name
        raise CorpusError(
            f"none of {len(images):,} images can be read, such as {first}: {unreadable[first]}"
        )
    pixels.flush()
    publish(
        folder / INDEX, json.dumps({"images": names, "unreadable": unreadable}).encode() + b"\n"
    )
    return pixels, unreadable


def _square(image: ImageFile, side: int) -> NDArray[np.uint8] | str:
    """Return the square of an image, or why there is none."""
    try:
        decoded = decode_image(read_image(image), DecodeConfig(max_pixels=MAX_PIXELS))
    except (DecodeError, FileNotFoundError) as error:
        return str(error)
    if max(decoded.size) > MAX_ASPECT * min(decoded.size):
        return f"{decoded.width} x {decoded.height} px, over {MAX_ASPECT} times as long as wide"
    decoded.thumbnail((side, side), Image.Resampling.BICUBIC)
    if max(decoded.size) < side:
        scale = side / max(decoded.size)
        size = (max(1, round(decoded.width * scale)), max(1, round(decoded.height * scale)))
        decoded = decoded.resize(size, Image.Resampling.BICUBIC)
    square = Image.new("RGB", (side, side), WHITE)
    square.paste(decoded, ((side - decoded.width) // 2, (side - decoded.height) // 2))
    return np.asarray(square)
