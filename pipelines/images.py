"""Read the images of a raw shard back, in bounded batches, each checked against its hash."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from pipelines.storage import CorpusError, Storage

# Encoded bytes of one batch; a single larger image is a batch of its own.
BATCH_BYTES = 64_000_000


def read_images(
    rows: Sequence[dict[str, Any]], store: Storage, batch_rows: int
) -> Iterator[list[tuple[dict[str, Any], bytes]]]:
    """Yield (row, encoded image) in lists of up to `batch_rows`, in the order given.

    Args:
        rows: rows of schema RAW, or more than its file, offset, length, sha256 and key.
        store: the corpus that relative files lie in.
        batch_rows: most images in a batch.

    Raises:
        CorpusError: if a file is gone, cut short, or not what it was when it was made.
    """
    for batch in _batches(rows, batch_rows):
        bodies = store.read_ranges([(row["file"], row["offset"], row["length"]) for row in batch])
        for row, body in zip(batch, bodies, strict=True):
            if hashlib.sha256(body).hexdigest() != row["sha256"]:
                raise CorpusError(
                    f"{row['file']}: bytes of {row['key']} (offset {row['offset']:,}) are not what "
                    "was fetched; remove the .parquet of the same number in raw/ and build again"
                )
        yield list(zip(batch, bodies, strict=True))


def _batches(rows: Sequence[dict[str, Any]], batch_rows: int) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        if batch and (len(batch) == batch_rows or size + row["length"] > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += row["length"]
    if batch:
        yield batch
