"""shard: write the corpus as WebDataset tars, by exchanging references to bytes, never bytes.

Keys are hashes, so an output shard has samples of every input shard. Were each to look up its own
in the side-cars, all of those would be read once an output shard, and work would grow as the
square of the corpus. So samples are exchanged, in two steps. A task for every group of side-car
shards joins them, once, into what each sample needs, its JSON among it, and cuts that by bundles
of output shards; a task for every bundle gathers it and cuts it by output shard. Each sample is
written and read twice, and slices are many times fewer than from groups to output shards at once.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.runtime.exchange import Sending, Sent, Tables, Task, dealt, run_tasks, send, taken
from pipelines.runtime.sidecar import column, kept_keys, read_table, sidecar_path
from pipelines.runtime.stage import Stage
from pipelines.shards.write_shard import (
    OF_ARRAY,
    OF_IMAGE,
    REFERENCES,
    ShardFile,
    WriteShard,
    fitted_size,
    listing_bytes,
    listing_path,
)
from schemas.keys import output_shard
from schemas.recipe import Recipe
from schemas.sample import encode_json
from schemas.store.storage import Storage
from schemas.subsets import T2I, Subset

# Columns of side-cars with a row a sample; None for all.
COLUMNS: Mapping[str, Sequence[str] | None] = {
    "sources": ("key", "text", "title", "source", "url", "licence", "author", "tags"),
    "raw": OF_IMAGE,
    "signals": None,
    "captions": None,
    "pairs": None,
}
# References that one task holds, of a group or a bundle, at about 2 KB each.
SAMPLES_A_TASK = 100_000
SAMPLES = "samples"  # what is sent


@dataclass(frozen=True, kw_only=True)
class Shard(Stage):
    """The Beam part: shard numbers of the side-cars in, tars and the list of them out."""

    recipe: Recipe
    rows_of: str = "tokens"
    subset: Subset = T2I

    @classmethod
    def from_recipe(cls, recipe: Recipe, rows_of: str) -> "Shard":
        """Return the stage as a recipe has it."""
        return cls(recipe=recipe, rows_of=rows_of)

    def expand(self, shards: Any, store: Storage, output_shards: int, groups: int = 1) -> Any:
        """Build the graph; `groups` says how many tasks read, and changes no byte."""
        import apache_beam as beam

        from pipelines.runtime.map_shards import Concurrently

        writer = WriteShard(
            store=store, subset=self.subset, image=self.recipe.shard, decode=self.recipe.decode
        )
        by_output = ByOutputShard(
            output_shards, max(1, SAMPLES_A_TASK // self.recipe.shard.samples)
        )
        read = ReadSamples(
            store,
            self.recipe.fingerprint(),
            self.recipe.shard.short_side,
            by_output,
            self.rows_of,
            self.subset,
        )
        sent = (
            dealt(shards, groups)
            | "ReadTogether" >> beam.GroupByKey()
            | "Read" >> beam.ParDo(Concurrently(read)).with_output_types(Sent)
        )
        cut = Task(name="shard-bundle", store=store, function=by_output.cut)
        bundled = run_tasks([taken(sent, "ByBundle", SAMPLES)], cut)
        return (
            taken(bundled, "Bundled", SAMPLES)
            | "ByOutputShard" >> beam.GroupByKey()
            | "Write" >> beam.ParDo(Concurrently(writer)).with_output_types(ShardFile)
            | "Files" >> beam.combiners.ToList()
            | "Publish" >> beam.Map(_publish, store, self.subset).with_output_types(str)
        )


def output_shard_count(samples: int, per_shard: int) -> int:
    """Return how many output shards hold `samples` samples at `per_shard` on average.

    >>> output_shard_count(11, 5)
    3
    """
    return max(1, math.ceil(samples / per_shard))


@dataclass(frozen=True)
class ByOutputShard:
    """Says which output shard, and which bundle of them, samples go to."""

    output_shards: int
    bundle: int  # output shards in a bundle

    def of(self, samples: pa.Table) -> np.ndarray:
        """Return each sample's output shard."""
        return np.array(
            [output_shard(key, self.output_shards) for key in column(samples, "key")], np.int64
        )

    def bundles(self, samples: pa.Table) -> np.ndarray:
        """Return each sample's bundle."""
        return self.of(samples) // self.bundle

    def cut(self, tables: Tables) -> Sending:
        """Send the samples of a bundle to their output shards."""
        return {SAMPLES: (tables[SAMPLES], self.of(tables[SAMPLES]))}


@dataclass(frozen=True)
class ReadSamples:
    """Join the side-cars of a group of shards into references to their samples, and send them."""

    store: Storage
    recipe_fingerprint: str
    short_side: int
    by_output: ByOutputShard
    rows_of: str = "tokens"  # folder of the stage before
    subset: Subset = T2I

    def __call__(self, group: tuple[int, Iterable[int]]) -> Sent:
        """Write the group's exchange file, cut by bundle."""
        number, shards = group
        tables = [
            pa.Table.from_pylist(list(self.references(shard)), schema=REFERENCES)
            for shard in sorted(shards)
        ]
        table = pa.concat_tables(tables)
        sending = {SAMPLES: (table, self.by_output.bundles(table))}
        return send(self.store, f"shard-read-{number:05d}", sending)

    def references(self, shard: int) -> Iterator[dict[str, Any]]:
        """Yield the rows of one shard that the stage before kept, in key order."""
        tables = {
            folder: {row["key"]: row for row in self._rows(folder, shard, columns)}
            for folder, columns in COLUMNS.items()
        }
        tokens = self._rows("tokens", shard, ("key", "aspect", *OF_ARRAY))
        if self.rows_of != "tokens":
            kept = {*kept_keys(self.store, self.rows_of, shard).to_pylist()}
            tokens = [row for row in tokens if row["key"] in kept]
        # In the order of keys and then of members, which is that of the side-car.
        for key, arrays in groupby(tokens, key=itemgetter("key")):
            rows = {folder: table[key] for folder, table in tables.items()}
            yield self._reference(key, rows, list(arrays))

    def _rows(self, folder: str, shard: int, columns: Sequence[str] | None) -> list[dict[str, Any]]:
        return json_rows(read_table(self.store, sidecar_path(folder, shard), columns))

    def _reference(
        self, key: str, rows: dict[str, dict[str, Any]], arrays: Sequence[dict[str, Any]]
    ) -> dict[str, Any]:
        """Return a row of REFERENCES; `from_pylist` leaves out what that does not name."""
        return {
            **rows["raw"],
            "json": self._json(rows, arrays[0]["aspect"]).decode(),
            "arrays": arrays,
        }

    def _json(self, rows: dict[str, dict[str, Any]], aspect: float) -> bytes:
        source, signals = rows["sources"], rows["signals"]
        width, height = fitted_size(signals["width"], signals["height"], self.short_side)
        named = ("key", "text", "title", "source", "url", "licence", "author")
        return encode_json(
            {name: source[name] for name in named}
            | {
                "tags": ", ".join(source["tags"]),
                "messages": rows["pairs"]["messages"],
                "template": rows["pairs"]["template"],
                "caption": rows["captions"]["caption"],
                "caption_origin": rows["captions"]["caption_origin"],
                "sha256": rows["raw"]["sha256"],
                "width": width,
                "height": height,
                "crop_aspect": aspect,
                "signals": {name: value for name, value in signals.items() if name != "key"},
                "recipe": self.recipe_fingerprint,
            },
            self.subset,
        )


def json_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows of a table as JSON holds them.

    Readers of JSON have no integers of 64 bits without a sign: those are written in hex.
    """
    words = [field.name for field in table.schema if field.type == pa.uint64()]
    return [row | {name: f"{row[name]:016x}" for name in words} for row in table.to_pylist()]


def _publish(files: list[ShardFile], store: Storage, subset: Subset) -> str:
    store.commit_bytes(listing_path(subset.name), listing_bytes(files))
    return subset.name
