"""Collection of one shard's image bytes, and writing of its tar in key order."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

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

PLACE = ("file", "offset", "length", "sha256")  # columns of an image in `raw/`

# Values of the HTTP columns in a row that was not fetched.
NOT_FETCHED = {"final_url": "", "status": 0, "content_type": "", "opt_outs": ""}
NOT_MADE = {"instruction": "", "edit": ""}  # of a sample that is no edit made of an image


class WantedImage(NamedTuple):
    """An image that a reader has to bring."""

    id: str  # the key of the sample; of a further image KEY.ROLE
    url: str
    place: str


def wanted_images(rows: pa.Table) -> list[WantedImage]:
    """Return the images of rows of `sources/`, the main image of each and its further ones."""
    return [
        image
        for row in rows.select(["key", "url", "place", "images"]).to_pylist()
        for image in (
            WantedImage(row["key"], row["url"], row["place"]),
            *(
                WantedImage(f"{row['key']}.{each['role']}", each["url"], each["place"])
                for each in row["images"]
            ),
        )
    ]


def wrong_size(length: int, max_bytes: int, name: str) -> tuple[str, str] | None:
    """Return (reason, detail) if an image of `length` bytes is refused, else None."""
    if not length:
        return "empty_file", f"{name}: no bytes"
    if length > max_bytes:
        return "too_large", f"{name}: {length:,} bytes, over {max_bytes:,}"
    return None


def member_name(id_: str, body: bytes) -> str:
    """Return the name of an image's member in a raw tar."""
    found = file_format(body)
    return f"{id_}.{found.suffix if found else 'bin'}"


class ImageStore(Protocol):
    """What a reader brings images to: `RawShard`, or what stands in for it."""

    known: KnownImages

    def store(self, id_: str, body: bytes, **about: str | int) -> None:
        """Take a copy of an image's bytes."""
        ...

    def refer(self, id_: str, file: str, offset: int, length: int, sha256: str) -> None:
        """Take the place of an image's bytes."""
        ...

    def reject(self, id_: str, reason: str, detail: str, *, dropped: bool = False) -> None:
        """Take the reason why an image is not there."""
        ...


class RawShard:
    """The image bytes of one shard: stored in its tar, or referenced in their place.

    An image is named by its id, as `wanted_images` gives it. Bodies are written to disk as they
    arrive, so only one is in memory. A sample is there if all its images are.
    """

    def __init__(self, shard: int, scratch: Path, known: KnownImages | None = None) -> None:
        self.scratch = scratch
        self.known = known or KnownImages()
        self._name = shard_name(shard)
        self._spool = Spool(scratch)
        self._stored: dict[str, str] = {}  # id -> name of its member
        self._rows: dict[str, dict[str, Any]] = {}  # by id
        self._rejects: dict[str, Reject] = {}  # by key, the first of each sample

    def store(self, id_: str, body: bytes, **about: str | int) -> None:
        """Keep a copy of an image's bytes; `about` replaces values of NOT_FETCHED and NOT_MADE.

        Bytes on a list of known hashes are not written anywhere, and the sample is dropped.
        """
        if verdict := self.known.by_bytes(body):
            self.reject(id_, *verdict, dropped=True)
            return
        self._stored[id_] = member_name(id_, body)
        self._spool.add(id_, body)
        self._add(id_, "", -1, len(body), hashlib.sha256(body).hexdigest(), **about)

    def refer(self, id_: str, file: str, offset: int, length: int, sha256: str) -> None:
        """Add a reference to an image's bytes, offset and length in bytes; nothing is copied.

        The caller has looked for the bytes among known images (`known.find`).
        """
        self._add(id_, file, offset, length, sha256)

    def keep(self, image: Mapping[str, Any], body: bytes) -> None:
        """Add an image of an earlier crawl of this shard, as `stored_images` gives it."""
        if "://" in image["file"]:
            if verdict := self.known.find(image["key"], body):
                self.reject(image["key"], *verdict, dropped=True)
                return
            self.refer(*(image[name] for name in ("key", *PLACE)))
        else:
            known = {**NOT_FETCHED, **NOT_MADE}
            self.store(image["key"], body, **{name: image.get(name, known[name]) for name in known})

    def reject(self, id_: str, reason: str, detail: str, *, dropped: bool = False) -> None:
        """Add an image that failed or was dropped, and with it its sample, with its reason."""
        key, _, role = id_.partition(".")
        said = f"{role} image: {detail}" if role else detail
        reject = Reject(id=key, reason=reason, detail=said, dropped=dropped)
        # By role and not by time, which the web decides.
        if key not in self._rejects or not role:
            self._rejects[key] = reject

    def finish(self, rows_in: int) -> ShardResult:
        """Write the tar in key order and return the result to publish.

        The tar's name contains its hash: the web answers differently in each attempt, and a
        side-car must not belong to the tar of another attempt. Copies of known images are found
        only here, because decoding takes longer than a fetch may wait for.
        """
        self._drop_known()
        kept = {id_: row for id_, row in self._rows.items() if _key(id_) not in self._rejects}
        stored = {id_: name for id_, name in self._stored.items() if id_ in kept}
        files: dict[str, Path] = {}
        if stored:
            local = self.scratch / "raw.tar"
            with TarWriter(local) as tar:
                offsets = {
                    id_: tar.add(name, self._spool.read(id_))[0]
                    for id_, name in sorted(stored.items())
                }
            file = f"raw/{self._name}-{str(describe_tar(local)['sha256'])[:HASH_DIGITS]}.tar"
            files[file] = local
            for id_, offset in offsets.items():
                kept[id_] |= {"file": file, "offset": offset}
        self._spool.close()
        return ShardResult(
            table=pa.Table.from_pylist(_with_further(kept), schema=RAW),
            rows_in=rows_in,
            rejects=list(self._rejects.values()),
            files=files,
            named_by_content=True,
        )

    def _drop_known(self) -> None:
        """Drop the stored images that look like known ones."""
        if not self.known.looks:
            return
        for id_ in sorted(self._stored):
            if verdict := self.known.by_look(id_, self._spool.read(id_)):
                self.reject(id_, *verdict, dropped=True)

    def _add(
        self, id_: str, file: str, offset: int, length: int, sha256: str, **about: str | int
    ) -> None:
        place = {"key": id_, "file": file, "offset": offset, "length": length, "sha256": sha256}
        self._rows[id_] = place | NOT_FETCHED | NOT_MADE | about


def _key(id_: str) -> str:
    return id_.partition(".")[0]


def _with_further(images: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of RAW in key order, the further images of each inside it."""
    rows: dict[str, dict[str, Any]] = {}
    for id_ in sorted(images):
        key, _, role = id_.partition(".")
        if not role:
            rows[key] = {**images[id_], "images": []}
        else:  # KEY stands before KEY.ROLE
            place = {name: images[id_][name] for name in PLACE}
            rows[key]["images"].append({"role": role, **place})
    return list(rows.values())
