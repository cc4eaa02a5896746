"""Collect one shard's bytes as they arrive, and lay them out in key order."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from pipelines.responses import image_format
from pipelines.sidecar import Reject
from pipelines.stage import Outcome
from pipelines.tar_writer import TarWriter
from schemas.keys import shard_name
from schemas.tables import RAW

# What a row that came from no HTTP answer holds in those columns.
NOT_FETCHED = {"final_url": "", "status": 0, "content_type": "", "robots": ""}


def wrong_size(length: int, max_bytes: int, name: str) -> tuple[str, str] | None:
    """Return why an image of `length` bytes is turned away, (reason, detail); None if it is not."""
    if not length:
        return "empty_file", f"{name}: no bytes"
    if length > max_bytes:
        return "too_large", f"{name}: {length:,} bytes, over {max_bytes:,}"
    return None


class RawShard:
    """The bytes of one shard: stored in its own tar, or referenced where they lie.

    Bodies are spooled to disk as they arrive, so memory holds one at a time.
    """

    def __init__(self, shard: int, scratch: Path) -> None:
        self.scratch = scratch
        self.tar = f"raw/{shard_name(shard)}.tar"
        self._spool: BinaryIO = open(scratch / "spool", "w+b")  # noqa: SIM115
        self._stored: dict[str, tuple[int, int, str]] = {}  # key -> offset, length in the spool
        self._rows: list[dict[str, Any]] = []
        self._rejects: list[Reject] = []

    def store(self, key: str, body: bytes, **http: str | int) -> None:
        """Keep a copy of a sample's bytes; `http` replaces values of NOT_FETCHED."""
        self._stored[key] = (self._spool.tell(), len(body), f"{key}.{image_format(body) or 'bin'}")
        self._spool.write(body)
        self._add(key, self.tar, -1, len(body), hashlib.sha256(body).hexdigest(), **http)

    def refer(self, key: str, file: str, offset: int, length: int, sha256: str) -> None:
        """Remember where the bytes of a sample lie, in bytes; they are not copied."""
        self._add(key, file, offset, length, sha256)

    def keep(self, row: Mapping[str, Any], body: bytes) -> None:
        """Take a sample over from an earlier crawl of this shard: its row of RAW, its bytes."""
        if row["file"] == self.tar:
            self.store(row["key"], body, **{name: row[name] for name in NOT_FETCHED})
        else:
            self.refer(row["key"], row["file"], row["offset"], row["length"], row["sha256"])

    def reject(self, key: str, reason: str, detail: str, *, dropped: bool = False) -> None:
        """Turn a sample away."""
        self._rejects.append(Reject(id=key, reason=reason, detail=detail, dropped=dropped))

    def finish(self, rows_in: int) -> Outcome:
        """Write the tar in key order and return what is to be published."""
        files: dict[str, Path] = {}
        places: dict[str, int] = {}
        if self._stored:
            files[self.tar] = self.scratch / "raw.tar"
            with TarWriter(files[self.tar]) as tar:
                for key, name, body in self._spooled():
                    places[key], _ = tar.add(name, body)
        self._spool.close()
        os.unlink(self.scratch / "spool")
        rows = [
            row | {"offset": places.get(row["key"], row["offset"])}
            for row in sorted(self._rows, key=lambda row: row["key"])
        ]
        table = pa.Table.from_pylist(rows, schema=RAW)
        return Outcome(table=table, rows_in=rows_in, rejects=self._rejects, files=files)

    def _spooled(self) -> Iterator[tuple[str, str, bytes]]:
        for key, (offset, length, name) in sorted(self._stored.items()):
            self._spool.seek(offset)
            yield key, name, self._spool.read(length)

    def _add(
        self, key: str, file: str, offset: int, length: int, sha256: str, **http: str | int
    ) -> None:
        place = {"key": key, "file": file, "offset": offset, "length": length, "sha256": sha256}
        self._rows.append(place | NOT_FETCHED | http)
