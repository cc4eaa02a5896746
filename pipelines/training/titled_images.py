"""Pairs of listed images and their words, with small squares of the images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.image_text.pairs import Pair, pairs_of
from pipelines.training.images import ImageFile
from pipelines.training.thumbnails import listed_images, thumbnails
from schemas.store.storage import CorpusError

THUMBNAIL = 72  # px; training sees parts of it, enlarged or shrunk to the network's size


@dataclass(frozen=True, slots=True, kw_only=True)
class TitledImages:
    """Pairs and their images."""

    pairs: Sequence[Pair]
    images: Sequence[NDArray[np.uint8]]  # [THUMBNAIL, THUMBNAIL, 3], mapped into memory
    unreadable: dict[str, str]  # image -> reason

    def pairs_of(self, numbers: Sequence[int]) -> list[Pair]:
        """Return some of the pairs."""
        return [self.pairs[number] for number in numbers]

    def images_of(self, numbers: Sequence[int]) -> list[NDArray[np.uint8]]:
        """Return the images of some pairs."""
        return [self.images[number] for number in numbers]


def titled_images(urls: Sequence[str], folder: Path) -> TitledImages:
    """Read lists and decode their images once; read these from `folder` later.

    Raises:
        CorpusError: there is no list or no image with words, or an image is listed twice.
    """
    pairs, files = _pairs(urls)
    images_N, unreadable = thumbnails([files[pair.name] for pair in pairs], THUMBNAIL, folder)
    usable = [number for number, pair in enumerate(pairs) if pair.name not in unreadable]
    return TitledImages(
        pairs=[pairs[n] for n in usable],
        images=[images_N[n] for n in usable],
        unreadable=unreadable,
    )


def _pairs(urls: Sequence[str]) -> tuple[list[Pair], dict[str, ImageFile]]:
    pairs: list[Pair] = []
    files: dict[str, ImageFile] = {}
    for url in urls:
        listed = listed_images(url)
        found = {image.file.name: image.file for image in listed}
        if len(found) < len(listed) or found.keys() & files.keys():
            raise CorpusError(f"--list {url}: an image is listed twice, or two lists have one name")
        files |= found
        pairs += pairs_of([image.row for image in listed], [*found])
    if not pairs:
        raise CorpusError(f"{', '.join(urls)}: no image has a title or a tag")
    return pairs, files
