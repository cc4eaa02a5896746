"""Images for training a tokenizer, read in place from folders and tars and decoded once."""

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

BATCHES_AHEAD = 4  # each decoded by a separate thread while the network computes
MAX_PIXELS = 50_000_000
MAX_BYTES = 50_000_000  # of an encoded image
MAX_ASPECT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """The place of an encoded image."""

    name: str  # path below its folder or tar; decides all random numbers
    url: str
    offset: int = 0
    length: int | None = None  # bytes; None for the whole file


def find_images(urls: Sequence[str]) -> list[ImageFile]:
    """List the images of folders and tars, each once, sorted by name.

    Args:
        urls: local paths or fsspec URLs of folders, which are listed to any depth with the tars in
            them; or of tars or images, also with *. For a built corpus, only the images in its
            shards are listed.

    Raises:
        CorpusError: a place has no image.
    """
    found: set[ImageFile] = set()
    for url in urls:
        images = set(_images_of(url))
        if not images:
            raise CorpusError(f"{url}: expected images or tars of images, found none")
        found |= images
    return sorted(found, key=lambda image: (image.name, image.url, image.offset))


def _images_of(url: str) -> Iterator[ImageFile]:
    fs, path = open_fs(url)
    try:
        paths = fs.glob(path) if "*" in path else fs.find(path)
    except FileNotFoundError:  # the bucket is missing
        return
    # A name must not depend on the location of the data.
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
    """Split images by the hash of their names; return those for training and those held out."""
    kept = [image for image in images if unit(image.name, "held out") >= share]
    rest = [image for image in images if unit(image.name, "held out") < share]
    return kept, rest


@dataclass(kw_only=True)
class TrainingImages:
    """Batches of crops, the same in every run; images that cannot be decoded are skipped.

    Images are cut to squares of `side` px once and kept in memory up to `cache_bytes`.
    """

    images: Sequence[ImageFile]
    side: int = 256  # px
    cache_bytes: int = 4 << 30
    unreadable: dict[str, str] = field(default_factory=dict)  # name -> reason
    _skipped: set[ImageFile] = field(default_factory=set)
    _cache: dict[ImageFile, NDArray[np.uint8]] = field(default_factory=dict)
    _orders: dict[int, Sequence[ImageFile]] = field(default_factory=dict)
    _ordering: Lock = field(default_factory=Lock)

    def batches(self, crop: int, size: int, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Yield uint8 [size, crop, crop, 3] without end, each epoch in another order.

        Args:
            crop: side of the crops, px; up to `side`.
            size: images per batch.
            start: batches to skip when a run resumes.
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
            if len(self._skipped) >= len(self.images):
                raise CorpusError(f"none of {len(self.images)} images can be decoded")
            epoch, index = divmod(place, len(self.images))
            image = self._order(epoch)[index]
            square = self._square(image)
            if square is not None:  # else the next image of the epoch replaces it
                crops.append(_cut(square, crop, f"{image.name}/{epoch}"))
            if len(crops) == size:
                break
        return np.stack(crops)

    def _order(self, epoch: int) -> Sequence[ImageFile]:
        with self._ordering:
            if epoch not in self._orders:
                ordered = sorted(self.images, key=lambda i: rank(i.name, f"epoch {epoch}"))
                # Some threads may still read the previous epoch.
                kept = {e: order for e, order in self._orders.items() if e == epoch - 1}
                self._orders = kept | {epoch: ordered}
            return self._orders[epoch]

    def _square(self, image: ImageFile) -> NDArray[np.uint8] | None:
        if image in self._skipped:
            return None
        if image in self._cache:
            return self._cache[image]
        try:
            decoded = decode_image(read_image(image), DecodeConfig(max_pixels=MAX_PIXELS))
            if max(decoded.size) > MAX_ASPECT * min(decoded.size):
                size = f"{decoded.width} x {decoded.height} px"
                raise DecodeError("too_long", f"{size}, over {MAX_ASPECT} times as long as wide")
        except DecodeError as error:
            self.unreadable[image.name] = str(error)
            self._skipped.add(image)
            return None
        square = cover_crop(decoded, self.side, self.side)
        if len(self._cache) * square.nbytes < self.cache_bytes:
            self._cache[image] = square
        return square


def read_image(image: ImageFile) -> bytes:
    """Read an encoded image.

    Raises:
        DecodeError: it has more than `MAX_BYTES`.
        FileNotFoundError: it is gone.
    """
    fs, path = open_fs(image.url)
    length = fs.size(path) if image.length is None else image.length
    if length > MAX_BYTES:
        raise DecodeError("too_many_bytes", f"{length:,} bytes is over {MAX_BYTES:,}")
    return fs.cat_file(path, start=image.offset, end=image.offset + length)


def _cut(square: NDArray[np.uint8], crop: int, key: str) -> NDArray[np.uint8]:
    """Cut a crop at a random place, mirrored with probability 1/2."""
    free = square.shape[0] - crop + 1
    top, left = draw(key, "top", free), draw(key, "left", free)
    cut = square[top : top + crop, left : left + crop]
    return cut[:, ::-1] if draw(key, "mirror", 2) else cut
