"""Read bytes that side-cars refer to, each checked against its hash, and decode images."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from PIL.Image import Image

from filters.decode import DecodeError, Scaled, decode, decode_scaled
from pipelines.runtime.decode_clock import within
from pipelines.runtime.sidecar import Reject, read_table, sidecar_path
from schemas.recipe import DecodeConfig
from schemas.store.storage import CorpusError, Storage

T = TypeVar("T")

# Encoded bytes of one batch; a single larger image is a batch of its own.
BATCH_BYTES = 64_000_000
UNREADABLE_BYTES = "unreadable_bytes"  # reason of a dead letter whose detail names the file
BRIEF_BYTES = 100_000  # of a file that is likely decoded in a few milliseconds

# Messages about bytes that have changed, filled in from their row.
FETCHED = (
    "{file}: bytes of {key} (offset {offset:,}) are not what was fetched; "
    "remove the .parquet of the same number in raw/ and build again"
)
WRITTEN = (
    "{file}: codes of {key} (offset {offset:,}) are not what was written; "
    "remove the .parquet of the same number and build again"
)


def stored_images(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the main image of a row of `raw/` and its further ones, each with its id as `key`."""
    further = [{**each, "key": f"{row['key']}.{each['role']}"} for each in row["images"]]
    return [dict(row), *further]


def read_samples(
    rows: Sequence[dict[str, Any]], store: Storage, batch_rows: int
) -> Iterator[list[tuple[dict[str, Any], list[bytes]]]]:
    """Yield (row, all its encoded images, the main one first) in lists of up to `batch_rows`.

    The images of a list are read together: on an object store a request takes longer than an image.

    Args:
        rows: rows of schema RAW, or more than its file, offset, length, sha256, images and key.
        store: the corpus that relative files lie in.
        batch_rows: most samples in a batch.

    Raises:
        CorpusError: if a file is gone, cut short, or not what it was when it was made.
    """
    for batch in batches(rows, batch_rows):
        images = list(map(stored_images, batch))
        bodies = iter(read_checked([each for of_row in images for each in of_row], store, FETCHED))
        yield [
            (row, [next(bodies) for _ in of_row]) for row, of_row in zip(batch, images, strict=True)
        ]


def read_checked(rows: Sequence[dict[str, Any]], store: Storage, fault: str) -> list[bytes]:
    """Read the bytes of each row's file, offset and length; `fault` is said of changed ones.

    Raises:
        CorpusError: if a file is gone, cut short, or its bytes have another sha256.
    """
    bodies = store.read_ranges([(row["file"], row["offset"], row["length"]) for row in rows])
    for row, body in zip(rows, bodies, strict=True):
        if hashlib.sha256(body).hexdigest() != row["sha256"]:
            raise CorpusError(changed(row) if fault is FETCHED else fault.format_map(row))
    return bodies


def changed(row: Mapping[str, Any]) -> str:
    """Describe an image whose bytes differ from its row in `raw/`, and what to do."""
    if "://" not in row["file"]:
        return FETCHED.format_map(row)
    return (
        f"{row['file']}: bytes of {row['key']} are not what was fetched; put the file back as it "
        "was, or build again"
    )


def read_each(rows: Sequence[dict[str, Any]], store: Storage) -> list[bytes | CorpusError]:
    """Read the image of each row, or return the error of one that has changed since the crawl."""
    try:
        return list(read_checked(rows, store, FETCHED))
    except CorpusError as error:
        if len(rows) == 1:
            return [error]
    return [read_each([row], store)[0] for row in rows]


def decode_image(body: bytes, settings: DecodeConfig) -> Image:
    """Decode as a recipe says.

    Raises:
        DecodeError: as `filters.decode.decode` does, and `decode_timeout` where it takes too long.
    """
    return in_time(body, settings, partial(decode, background=settings.background))


def decode_image_scaled(
    body: bytes, settings: DecodeConfig, suffices: Callable[[int, int], bool]
) -> Scaled:
    """Decode as a recipe says, to a smaller size if that suffices, see `decode_scaled`.

    Raises:
        DecodeError: as `filters.decode.decode_scaled` does, and `decode_timeout` where it takes too
            long.
    """
    call = partial(decode_scaled, background=settings.background, suffices=suffices)
    return in_time(body, settings, call)


def in_time(body: bytes, settings: DecodeConfig, function: Callable[..., T]) -> T:
    """Return what a function makes of an image file, if it does so in time.

    Raises:
        DecodeError: as the function does, and `decode_timeout` where it takes too long.
    """
    call = partial(function, body, max_pixels=settings.max_pixels)
    return within(settings.timeout_s, call, is_brief=len(body) < BRIEF_BYTES)


def refused(key: str, listed: Mapping[str, Any], error: DecodeError) -> Reject:
    """Return the dead letter of an image; `listed` has its `source` and `url`."""
    return Reject(id=key, reason=error.reason, detail=f"{image_name(listed)}: {error.detail}")


def image_name(listed: Mapping[str, Any]) -> str:
    """Name an image so that a user finds it: its URL, or its source and the file there.

    >>> image_name({"source": "mine", "url": "a/0.jpg"})
    'mine: a/0.jpg'
    """
    url = listed["url"]
    return url if "://" in url else f"{listed['source']}: {url}"


def named(rejects: Iterable[Reject], shard: int, store: Storage) -> list[Reject]:
    """Put the name of its image before each detail that does not name a file itself."""
    found = list(rejects)
    if not found:
        return []
    sources = read_table(store, sidecar_path("sources", shard), ["key", "source", "url"])
    names = {row["key"]: image_name(row) for row in sources.to_pylist()}
    return [
        reject
        if reject.reason == UNREADABLE_BYTES
        else replace(reject, detail=f"{names[reject.id]}: {reject.detail}")
        for reject in found
    ]


def batches(rows: Sequence[dict[str, Any]], batch_rows: int) -> Iterator[list[dict[str, Any]]]:
    """Cut rows into lists of up to `batch_rows` rows and about `BATCH_BYTES`, in their order."""
    batch: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        length = row["length"] + sum(image["length"] for image in row.get("images", ()))
        if batch and (len(batch) == batch_rows or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += length
    if batch:
        yield batch
