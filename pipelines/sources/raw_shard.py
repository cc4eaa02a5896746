"""Collection of one shard's image bytes, and writing of its tar in key order."""

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
from pipelines.sources.known_images import KnownImages
from schemas.keys import shard_name
from schemas.tables import RAW

HASH_DIGITS = 12  # of a tar's sha256, in its name

# Values of the HTTP columns in a row that was not fetched.
NOT_FETCHED = {"final_url": "", "status": 0, "content_type": "", "robots": ""}


def wrong_size(length: int, max_bytes: int, name: str) -> tuple[str, str] | None:
    """Return (reason, detail) if an image of `length` bytes is refused, else None."""
    if not length:
        return "empty_file", f"{name}: no bytes"
    if length > max_bytes:
        return "too_large", f"{name}: {length:,} bytes, over {max_bytes:,}"
    return None


def member_name(key: str, body: bytes) -> str:
    """Return the name of a sample's member in a raw tar."""
    found = file_format(body)
    return f"{key}.{found.suffix if found else 'bin'}"


class RawShard:
    """The image bytes of one shard: stored in its tar, or referenced in their place.

    Bodies are written to disk as they arrive, so only one is in memory.
    """

    def __init__(self, shard: int, scratch: Path, known: KnownImages | None = None) -> None:
        self.scratch = scratch
        self.known = known or KnownImages()
        self._name = shard_name(shard)
        self._spool = Spool(scratch)
        self._stored: dict[str, str] = {}  # key -> name of its member
        self._rows: list[dict[str, Any]] = []
        self._rejects: list[Reject] = []

    def store(self, key: str, body: bytes, **http: str | int) -> None:
        """Keep a copy of a sample's bytes; `http` replaces values of NOT_FETCHED.

        Bytes on a list of known hashes are not written anywhere, and the sample is dropped.
        """
        if verdict := self.known.by_bytes(body):
            self.reject(key, *verdict, dropped=True)
            return
        self._stored[key] = member_name(key, body)
        self._spool.add(key, body)
        self._add(key, "", -1, len(body), hashlib.sha256(body).hexdigest(), **http)

    def refer(self, key: str, file: str, offset: int, length: int, sha256: str) -> None:
        """Add a reference to a sample's bytes, offset and length in bytes; nothing is copied.

        The caller has looked for the bytes among known images (`known.find`).
        """
        self._add(key, file, offset, length, sha256)

    def keep(self, row: Mapping[str, Any], body: bytes) -> None:
        """Add a sample of an earlier crawl of this shard: its row of RAW and its bytes."""
        if "://" in row["file"]:
            if verdict := self.known.find(row["key"], body):
                self.reject(row["key"], *verdict, dropped=True)
                return
            self.refer(row["key"], row["file"], row["offset"], row["length"], row["sha256"])
        else:
            self.store(row["key"], body, **{name: row[name] for name in NOT_FETCHED})

    def reject(self, key: str, reason: str, detail: str, *, dropped: bool = False) -> None:
        """Add a sample that failed or was dropped, with its reason."""
        self._rejects.append(Reject(id=key, reason=reason, detail=detail, dropped=dropped))

    def finish(self, rows_in: int) -> ShardResult:
        """Write the tar in key order and return the result to publish.

        The tar's name contains its hash: the web answers differently in each attempt, and a
        side-car must not belong to the tar of another attempt. Copies of known images are found
        only here, because decoding takes longer than a fetch may wait for.
        """
        self._drop_known()
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

    def _drop_known(self) -> None:
        """Drop the stored images that look like known ones."""
        if not self.known.looks:
            return
        for key in sorted(self._stored):
            if verdict := self.known.by_look(key, self._spool.read(key)):
                del self._stored[key]
                self.reject(key, *verdict, dropped=True)
        dropped = {reject.id for reject in self._rejects}
        self._rows = [row for row in self._rows if row["key"] not in dropped]

    def _add(
        self, key: str, file: str, offset: int, length: int, sha256: str, **http: str | int
    ) -> None:
        place = {"key": key, "file": file, "offset": offset, "length": length, "sha256": sha256}
        self._rows.append(place | NOT_FETCHED | http)
