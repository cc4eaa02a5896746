"""Collect one shard's bytes as they arrive, and lay them out in key order."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from filters.formats import file_format
from pipelines.runtime.sidecar import Reject
from pipelines.runtime.spool import Spool
from pipelines.runtime.stage import ShardResult
from pipelines.shards.tar_writer import TarWriter, describe_tar
from schemas.keys import shard_name
from schemas.tables import RAW

HASH_DIGITS = 12  # of a tar's sha256, in its name

# What a row that came from no HTTP answer holds in those columns.
NOT_FETCHED = {"final_url": "", "status": 0, "content_type": "", "robots": ""}


def wrong_size(length: int, max_bytes: int, name: str) -> tuple[str, str] | None:
    """Return why an image of `length` bytes is turned away, (reason, detail); None if it is not."""
    if not length:
        return "empty_file", f"{name}: no bytes"
    if length > max_bytes:
        return "too_large", f"{name}: {length:,} bytes, over {max_bytes:,}"
    return None


def member_name(key: str, body: bytes) -> str:
    """Name the member of a raw tar that holds a sample's bytes."""
    found = file_format(body)
    return f"{key}.{found.suffix if found else 'bin'}"


class RawShard:
    """The bytes of one shard: stored in its own tar, or referenced where they lie.

    Bodies are spooled to disk as they arrive, so memory holds one at a time.
    """

    def __init__(self, shard: int, scratch: Path) -> None:
        self.scratch = scratch
        self._name = shard_name(shard)
        self._spool = Spool(scratch)
        self._stored: dict[str, str] = {}  # key -> name of its member
        self._rows: list[dict[str, Any]] = []
        self._rejects: list[Reject] = []

    def store(self, key: str, body: bytes, **http: str | int) -> None:
        """Keep a copy of a sample's bytes; `http` replaces values of NOT_FETCHED."""
        self._stored[key] = member_name(key, body)
        self._spool.add(key, body)
        self._add(key, "", -1, len(body), hashlib.sha256(body).hexdigest(), **http)

    def refer(self, key: str, file: str, offset: int, length: int, sha256: str) -> None:
        """Remember where the bytes of a sample lie, in bytes; they are not copied."""
        self._add(key, file, offset, length, sha256)

    def keep(self, row: Mapping[str, Any], body: bytes) -> None:
        """Take a sample over from an earlier crawl of this shard: its row of RAW, its bytes."""
        if "://" in row["file"]:
            self.refer(row["key"], row["file"], row["offset"], row["length"], row["sha256"])
        else:
            self.store(row["key"], body, **{name: row[name] for name in NOT_FETCHED})

    def reject(self, key: str, reason: str, detail: str, *, dropped: bool = False) -> None:
        """Turn a sample away."""
        self._rejects.append(Reject(id=key, reason=reason, detail=detail, dropped=dropped))

    def finish(self, rows_in: int) -> ShardResult:
        """Write the tar in key order and return what is to be published.

        The tar's name holds its hash: the web answers differently from one attempt to the next,
        and no side-car may come to stand beside the tar of another.
        """
        files: dict[str, Path] = {}
        places: dict[str, dict[str, str | int]] = {}
        if self._stored:
            local = self.scratch / "raw.tar"
            with TarWriter(local) as tar:
                offsets = {
                    key: tar.add(name, self._spool.read(key))[0]
                    for key, name in sorted(self._stored.items())
                }
            file = f"raw/{self._name}-{str(describe_tar(local)['sha256'])[:HASH_DIGITS]}.tar"
            files[file] = local
            places = {key: {"file": file, "offset": offset} for key, offset in offsets.items()}
        self._spool.close()
        rows = sorted(self._rows, key=lambda row: row["key"])
        table = pa.Table.from_pylist([r | places.get(r["key"], {}) for r in rows], schema=RAW)
        return ShardResult(
            table=table,
            rows_in=rows_in,
            rejects=self._rejects,
            files=files,
            named_by_content=True,
        )

    def _add(
        self, key: str, file: str, offset: int, length: int, sha256: str, **http: str | int
    ) -> None:
        place = {"key": key, "file": file, "offset": offset, "length": length, "sha256": sha256}
        self._rows.append(place | NOT_FETCHED | http)
