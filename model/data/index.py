"""Where the members of each sample lie in a shard: the index that is written beside its tar."""

import io
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from model.data.manifest import DataError, ShardFile, Source
from schemas.store.retries import open_fs


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShardIndex:
    """Places of the m wanted members of n samples, in the order of the tar."""

    keys: pa.Array  # n
    offsets_nm: NDArray[np.int64]  # bytes from the start of the tar
    lengths_nm: NDArray[np.int64]  # bytes


def read_index(source: Source, shard: ShardFile, members: tuple[str, ...]) -> ShardIndex:
    """Read the index of a shard; 2 ms for 1,000 samples on a local disk.

    Raises:
        DataError: it is missing, or not of the samples and members it should be of.
    """
    url = source.file(f"{shard.path.removesuffix('.tar')}.parquet")
    fs, path = open_fs(url)
    try:
        table = pq.read_table(io.BytesIO(fs.cat_file(path)))
    except FileNotFoundError as error:
        raise DataError(f"{url}: the shard's index is missing") from error
    except pa.ArrowInvalid as error:
        raise DataError(f"{url}: the shard's index is damaged: {error}") from error
    rows_of = [table.filter(pc.field("member") == member) for member in members]
    for member, rows in zip(members, rows_of, strict=True):
        if rows.num_rows != shard.samples or rows["key"] != rows_of[0]["key"]:
            raise DataError(
                f"{url}: {rows.num_rows} samples have {member}, the manifest counts {shard.samples}"
            )
    return ShardIndex(
        keys=rows_of[0]["key"].combine_chunks(),
        offsets_nm=_columns(rows_of, "offset"),
        lengths_nm=_columns(rows_of, "length"),
    )


def _columns(tables: list[pa.Table], name: str) -> NDArray[np.int64]:
    return np.stack([table[name].to_numpy() for table in tables], axis=1)
