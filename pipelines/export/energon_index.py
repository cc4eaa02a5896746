"""Indexes of tars as Energon's `prepare` writes them: of the samples of one, and of all members."""

import io
import sqlite3
import struct
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from schemas.store.storage import Storage

_TABLES: Final = """
CREATE TABLE samples (
    tar_file_id INTEGER NOT NULL, sample_key TEXT NOT NULL UNIQUE, sample_index INTEGER NOT NULL,
    byte_offset INTEGER, byte_size INTEGER
);
CREATE TABLE sample_parts (
    tar_file_id INTEGER, sample_index INTEGER, part_name TEXT,
    content_byte_offset INTEGER, content_byte_size INTEGER
);
"""
_INDEXES: Final = """
CREATE INDEX idx_samples_by_tar_and_idx ON samples(tar_file_id, sample_index);
CREATE INDEX idx_sample_parts_seq
    ON sample_parts(tar_file_id, sample_index, content_byte_offset);
CREATE INDEX idx_sample_parts_full ON sample_parts(
    tar_file_id, sample_index, part_name, content_byte_offset, content_byte_size);
"""

Row = tuple[int | str, ...]


def tar_index(path: Path) -> bytes:
    """Return the offset of the first header of each sample of a tar, and the end, as uint64."""
    starts, last = list[int](), ""
    with tarfile.open(path) as tar:
        for member in tar:
            key = member.name.partition(".")[0]
            if key != last:
                starts.append(member.offset)
            last = key
        return struct.pack(f"<{len(starts) + 1}Q", *starts, tar.offset)


def write_sqlite(tars: Sequence[str], path: str, to: Storage) -> None:
    """Write offsets of all samples and members; the rows of one tar are in memory.

    Args:
        tars: paths of the tars below `to`; beside each lie what `tar_index` returned, and the
            index of the corpus.
        path: of the database.
        to: the folder.
    """
    with to.scratch() as folder:
        local = folder / "index.sqlite"
        database = sqlite3.connect(local)
        database.executescript(_TABLES)
        for number, tar in enumerate(tars):
            samples, parts = _rows(number, tar, to)
            database.executemany("INSERT INTO samples VALUES (?, ?, ?, ?, ?)", samples)
            database.executemany("INSERT INTO sample_parts VALUES (?, ?, ?, ?, ?)", parts)
        database.commit()
        database.executescript(_INDEXES)
        database.close()
        to.commit_file(path, local)


def _rows(number: int, tar: str, to: Storage) -> tuple[list[Row], list[Row]]:
    """Return the rows of the samples and of the members of a tar."""
    starts = [start for (start,) in struct.iter_unpack("<Q", to.read(f"{tar}.idx"))]
    index = io.BytesIO(to.read(f"{tar.removesuffix('.tar')}.parquet"))
    members = pq.read_table(index).sort_by("offset").to_pylist()
    numbers = {key: at for at, key in enumerate(dict.fromkeys(row["key"] for row in members))}
    samples: list[Row] = [
        (number, key, at, starts[at], starts[at + 1] - starts[at]) for key, at in numbers.items()
    ]
    parts: list[Row] = [
        (number, numbers[row["key"]], row["member"], row["offset"], row["length"])
        for row in members
    ]
    return samples, parts
