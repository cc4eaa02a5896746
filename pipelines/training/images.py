"""Images for training a tokenizer: folders and tars read in place, decoded once, cropped anew."""

import itertools
import tarfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from filters.decode import DecodeError
from model.tokenizers.prepare import cover_crop
from pipelines.runtime.images import decode_image
from pipelines.shards.manifest import MANIFEST
from pipelines.shards.write_shard import FOLDER
from pipelines.sources.listing import IMAGE_SUFFIXES
from schemas.keys import draw, rank, unit
from schemas.recipe import DecodeConfig
from schemas.store.retries import open_fs
from schemas.store.storage import CorpusError

BATCHES_AHEAD = 4  # each decoded by a thread of its own while the network is at work
MAX_PIXELS = 50_000_000
MAX_BYTES = 50_000_000  # of an encoded image
MAX_ASPECT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """Where an encoded image lies."""

    name: str  # path below the folder or tar it was found in, which decides every draw
    url: str
    offset: int = 0
    length: int | None = None  # bytes; None for the whole file


def find_images(urls: Sequence[str]) -> list[ImageFile]:
    """List the images of folders and of tars, each once, sorted by name.

    Args:
        urls: local paths or fsspec URLs of folders, which are listed to any depth, tars among
            them; or of tars or images, with * where there are many. Of a built corpus those in its
            shards are meant, not what they were made of.

    Raises:
        CorpusError: a place that holds no image.
    """
    found: set[ImageFile] = set()
    for url in urls:
        images = set(_images_of(url))
        if not images:
            raise CorpusError(f"{url}: no image, and no tar of images, lies there")
        found |= images
    return sorted(found, key=lambda image: (image.name, image.url, image.offset))


def _images_of(url: str) -> Iterator[ImageFile]:
    fs, path = open_fs(url)
    try:
        paths = fs.glob(path) if "*" in path else fs.find(path)
    except FileNotFoundError:  # of a bucket that is not there
        return
    # A name must not say where the data lie: moved, they are the same images.
    folder = path.partition("*")[0].rpartition("/")[0] if "*" in path or path in paths else path
    if f"{path.rstrip('/')}/{MANIFEST}" in paths:
        paths = [file for file in paths if file.startswith(f"{path.rstrip('/')}/{FOLDER}/")]
    for file in sorted(paths):
        full = fs.unstrip_protocol(file)
        if file.endswith(".tar"):
            yield from _images_in_tar(full)
        elif file.lower().endswith(IMAGE_SUFFIXES):
            yield ImageFile(name=file.removeprefix(folder).lstrip("/"), url=full)


def _images_in_tar(url: str) -> Iterator[ImageFile]:
    try:
        fs, path = open_fs(url)
        with fs.open(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.isfile() and member.name.lower().endswith(IMAGE_SUFFIXES):
                    yield ImageFile(
                        name=member.name, url=url, offset=member.offset_data, length=member.size
                    )
    except tarfile.TarError as error:
        raise CorpusError(f"{url}: not a readable tar ({error})") from error


def held_out(images: Sequence[ImageFile], share: float) -> tuple[list[ImageFile], list[ImageFile]]:
    """Part images by the hash of their names: for training, and for the figures."""
    kept = [image for image in images if unit(image.name, "held out") >= share]
    rest = [image for image in images if unit(image.name, "held out") < share]
    return kept, rest


@dataclass(kw_only=True)
class TrainingImages:
    """Batches of crops, the same in every run; an image that cannot be decoded is left out.

    Images are cut to squares of `side` px once and kept in memory up to `cache_bytes`.
    """

    images: Sequence[ImageFile]
    side: int = 256  # px
    cache_bytes: int = 4 << 30
    unreadable: dict[str, str] = field(default_factory=dict)  # name -> why
    _left_out: set[ImageFile] = field(default_factory=set)
    _cache: dict[ImageFile, NDArray[np.uint8]] = field(default_factory=dict)
    _orders: dict[int, Sequence[ImageFile]] = field(default_factory=dict)
    _ordering: Lock = field(default_factory=Lock)

    def batches(self, crop: int, size: int, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Yield uint8 [size, crop, crop, 3] without end, each epoch in an order of its own.

        Args:
            crop: side of the crops, px; up to `side`.
            size: images a batch.
            start: batches to pass over, of a run that goes on.
        """
        with ThreadPoolExecutor(BATCHES_AHEAD) as threads:
            ahead = deque(
                threads.submit(self._batch, number, crop, size)
                for number in range(start, start + BATCHES_AHEAD)
            )
            for number in itertools.count(start + BATCHES_AHEAD):
                yield ahead.popleft().result()
                ahead.append(threads.submit(self._batch, number, crop, size))

    def squares(self) -> Iterator[NDArray[np.uint8]]:
        """Yield every readable image once, in order: uint8 [side, side, 3]."""
        return (found for image in self.images if (found := self._square(image)) is not None)

    def _batch(self, number: int, crop: int, size: int) -> NDArray[np.uint8]:
        crops: list[NDArray[np.uint8]] = []
        for place in itertools.count(number * size):
            if len(self._left_out) >= len(self.images):
                raise CorpusError(f"none of {len(self.images)} images can be decoded")
            epoch, index = divmod(place, len(self.images))
            image = self._order(epoch)[index]
            square = self._square(image)
            if square is not None:  # or the next in the epoch stands in
                crops.append(_cut(square, crop, f"{image.name}/{epoch}"))
            if len(crops) == size:
                break
        return np.stack(crops)

    def _order(self, epoch: int) -> Sequence[ImageFile]:
        with self._ordering:
            if epoch not in self._orders:
                ordered = sorted(self.images, key=lambda i: rank(i.name, f"epoch {epoch}"))
                # Some threads may still be in the epoch before.
                kept = {e: order for e, order in self._orders.items() if e == epoch - 1}
                self._orders = kept | {epoch: ordered}
            return self._orders[epoch]

    def _square(self, image: ImageFile) -> NDArray[np.uint8] | None:
        if image in self._left_out:
            return None
        if image in self._cache:
            return self._cache[image]
        try:
            decoded = decode_image(_read(image), DecodeConfig(max_pixels=MAX_PIXELS))
            if max(decoded.size) > MAX_ASPECT * min(decoded.size):
                size = f"{decoded.width} x {decoded.height} px"
                raise DecodeError("too_long", f"{size}, over {MAX_ASPECT} times as long as wide")
        except DecodeError as error:
            self.unreadable[image.name] = str(error)
            self._left_out.add(image)
            return None
        square = cover_crop(decoded, self.side, self.side)
        if len(self._cache) * square.nbytes < self.cache_bytes:
            self._cache[image] = square
        return square


def _read(image: ImageFile) -> bytes:
    fs, path = open_fs(image.url)
    length = fs.size(path) if image.length is None else image.length
    if length > MAX_BYTES:
        raise DecodeError("too_many_bytes", f"{length:,} bytes is over {MAX_BYTES:,}")
    return fs.cat_file(path, start=image.offset, end=image.offset + length)


def _cut(square: NDArray[np.uint8], crop: int, key: str) -> NDArray[np.uint8]:
    """Cut a crop at a drawn place, mirrored every other time."""
    free = square.shape[0] - crop + 1
    top, left = draw(key, "top", free), draw(key, "left", free)
    cut = square[top : top + crop, left : left + crop]
    return cut[:, ::-1] if draw(key, "mirror", 2) else cut
