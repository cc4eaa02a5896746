"""What samples share that must be held out together: images, the place of an image, a prompt."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa

from filters.text import normalised_text
from pipelines.dedup.words import unhex, words
from pipelines.runtime.sidecar import column, kept_keys, read_table, rows_with, sidecar_path
from pipelines.sources.plan import read_plan
from schemas.recipe import Recipe
from schemas.source_config import Source
from schemas.store.storage import Storage
from schemas.subsets import SUBSETS, Subset

_WORD = pa.uint64()
# A row of the corpus; `row` is the first word of its key.
ROWS = pa.schema([("row", _WORD), ("key1", _WORD), ("subset", pa.string())])
SHARED = pa.schema([("shared", _WORD), ("row", _WORD)])  # a hash of something that a row has
LOOKS = pa.schema([("phash", _WORD), ("row", _WORD)])  # of main images


@dataclass(frozen=True, kw_only=True)
class LinkReader:
    """Reads the rows of a shard, and what each may share with others."""

    recipe: Recipe
    rows_of: str  # folder of the stage whose rows are split

    @property
    def distance(self) -> int | None:
        """Most bits in which the pHashes of near images differ; None if looks do not count."""
        return self.recipe.dedup.phash_distance

    def read(self, store: Storage, shard: int) -> tuple[pa.Table, pa.Table, pa.Table]:
        """Return ROWS, SHARED and LOOKS of a shard."""
        keys = kept_keys(store, self.rows_of, shard)
        source = self._source(store, shard)
        subset = SUBSETS[source.subset]
        row, key1 = words(unhex(_texts(keys))) if len(keys) else [np.empty(0, np.uint64)] * 2
        rows = {"row": row, "key1": key1, "subset": [subset.name] * len(row)}
        things = zip(*self._things(store, shard, keys, source, subset), strict=True)
        links = [
            {"shared": hashed, "row": number}
            for number, of_row in zip(row.tolist(), things, strict=True)
            for hashed in sorted({_hash(thing) for some in of_row for thing in some})
        ]
        found = pa.Table.from_pydict(rows, ROWS), pa.Table.from_pylist(links, SHARED)
        if self.distance is None:
            return *found, LOOKS.empty_table()
        signals = read_table(store, sidecar_path("signals", shard), ["key", "phash"])
        looks = {"phash": rows_with(signals, keys)["phash"], "row": row}
        return *found, pa.Table.from_pydict(looks, LOOKS)

    def _source(self, store: Storage, shard: int) -> Source:
        name = read_plan(store)[shard].source
        return next(source for source in self.recipe.sources if source.name == name)

    def _things(
        self, store: Storage, shard: int, keys: pa.Array, source: Source, subset: Subset
    ) -> Iterator[list[list[str]]]:
        """Yield, for each kind of thing, those of each row."""

        def read(folder: str, *names: str) -> list[dict[str, Any]]:
            table = read_table(store, sidecar_path(folder, shard), ["key", *names])
            return rows_with(table, keys).to_pylist()

        yield [_images(row) for row in read("raw", "sha256", "images")]
        yield [[place_of(row, source)] for row in read("sources", "url", "origin")]
        if not subset.input_image:
            captions = column(rows_with(_captions(store, shard), keys), "caption")
            yield [[f"prompt {normalised_text(caption)}"] for caption in captions]


def place_of(row: Mapping[str, Any], source: Source) -> str:
    """Name the image that a row goes back to, in its source; or its prompt, if `origin` is that.

    Sources of one place share names. A URL is the same in every source.
    """
    name: str = row["origin"] or row["url"]
    return f"place {name}" if "://" in name else f"place {source.path.rstrip('/')} {name}"


def _images(row: Mapping[str, Any]) -> list[str]:
    return [f"image {each}" for each in (row["sha256"], *(i["sha256"] for i in row["images"]))]


def _captions(store: Storage, shard: int) -> pa.Table:
    return read_table(store, sidecar_path("captions", shard), ["key", "caption"])


def _texts(keys: pa.Array) -> list[str]:
    return column(pa.table({"key": keys}), "key")


def _hash(thing: str) -> int:
    return int.from_bytes(blake2b(thing.encode(), digest_size=8).digest())
