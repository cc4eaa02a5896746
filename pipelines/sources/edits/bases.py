"""The images that edits are made of, brought in by the reader of their source."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.runtime.sidecar import Reject
from pipelines.runtime.spool import Spool
from pipelines.sources.known_images import KnownImages
from pipelines.sources.listing import Reader, Unit
from pipelines.sources.raw_shard import ImageStore
from schemas.store.retries import open_fs
from schemas.tables import SOURCES


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the bytes of an image lie."""

    file: str
    offset: int
    length: int


class Bases:
    """The bytes of the images of a unit; those in place are read when they are asked for.

    It stands in for a `RawShard`, which another source's reader fills.
    """

    def __init__(self, reader: Reader, unit: Unit, rows: pa.Table, raw: ImageStore) -> None:
        """Bring in the images that rows are edits of; `raw` knows the images that are not kept."""
        self.known: KnownImages = raw.known
        self._folder = tempfile.TemporaryDirectory(prefix="bases-")
        self._spool = Spool(Path(self._folder.name))
        self._places: dict[str, _Place] = {}
        self._rejects: dict[str, Reject] = {}
        wanted = {
            image["url"]: {"key": image["url"], "url": image["url"], "place": image["place"]}
            for row in rows.select(["images"]).to_pylist()
            for image in row["images"]
        }
        listed = [{**row, "images": []} for _, row in sorted(wanted.items())]
        schema = pa.schema([SOURCES.field(name) for name in ("key", "url", "place", "images")])
        reader.acquire(unit, pa.Table.from_pylist(listed, schema=schema), self)

    def body(self, url: str) -> bytes | Reject:
        """Return the bytes of an image by its URL in its source, or why there are none."""
        if url in self._rejects:
            return self._rejects[url]
        if url in self._spool:
            return self._spool.read(url)
        place = self._places[url]
        fs, path = open_fs(place.file)
        return fs.cat_file(path, start=place.offset, end=place.offset + place.length)

    @property
    def urls(self) -> Sequence[str]:
        """The URLs of the images that there are, sorted."""
        return sorted({*self._places, *self._spool.names} - self._rejects.keys())

    def store(self, id_: str, body: bytes, **about: str | int) -> None:
        """Keep a copy of an image's bytes, as `RawShard.store`."""
        if verdict := self.known.find(id_, body):
            self.reject(id_, *verdict, dropped=True)
        else:
            self._spool.add(id_, body)

    def refer(self, id_: str, file: str, offset: int, length: int, sha256: str) -> None:
        """Keep the place of an image's bytes, as `RawShard.refer`."""
        self._places[id_] = _Place(file, offset, length)

    def reject(self, id_: str, reason: str, detail: str, *, dropped: bool = False) -> None:
        """Keep why an image is not there, as `RawShard.reject`."""
        self._rejects[id_] = Reject(id=id_, reason=reason, detail=detail, dropped=dropped)


def urls_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Group rows by the image that they are edits of, in the order of its URL."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (row["origin"], row["key"])):
        found.setdefault(row["origin"], []).append(row)
    return found
