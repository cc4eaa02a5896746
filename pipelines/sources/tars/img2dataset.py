"""The rows that img2dataset could not fetch, from the Parquet file beside its tar."""

import posixpath
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from pipelines.runtime.sidecar import Reject
from pipelines.sources.listing import Unit, storable
from pipelines.sources.lists.parquet import open_parquet
from schemas.store.retries import open_fs
from schemas.store.storage import CorpusError

_WANTED = ("key", "url", "status", "error_message")


def failures_beside(unit: Unit) -> Iterator[Reject]:
    """Yield the rows that were not downloaded, from img2dataset's Parquet file beside a tar.

    If that file cannot be read, yield one reject for it; the tar does not need it.
    """
    fs, path = open_fs(posixpath.splitext(unit.path)[0] + ".parquet")
    if not fs.exists(path) or fs.info(path)["type"] != "file":
        return
    try:
        with fs.open(path, "rb") as file:
            parquet = open_parquet(file, path)
            if not set(_WANTED) <= set(parquet.schema_arrow.names):
                return  # not a file of img2dataset
            for batch in parquet.iter_batches(columns=list(_WANTED)):
                rows = (row for row in batch.to_pylist() if row["status"] != "success")
                yield from (_failure(row, unit) for row in rows)
    except (CorpusError, pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        name = f"{posixpath.splitext(unit.name)[0]}.parquet"
        detail = f"rows that img2dataset did not fetch cannot be counted ({error}); remove the file"
        yield Reject(id=name, reason="malformed_parquet", detail=storable(detail))


def _failure(row: dict[str, Any], unit: Unit) -> Reject:
    return Reject(
        id=storable(f"{unit.name}::{row['key']}"),
        reason=storable(f"img2dataset_{row['status'] or 'unknown'}"),
        detail=storable(f"{row['url']}: {row['error_message']}"),
    )
