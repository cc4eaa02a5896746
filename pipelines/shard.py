"""shard: write the corpus as WebDataset tars, by shuffling references to bytes, never bytes."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import apache_beam as beam

from pipelines.map_shards import Concurrently
from pipelines.sidecar import read_table, sidecar_path
from pipelines.storage import Storage
from pipelines.write_shard import FOLDER, ArrayRef, SampleRef, ShardFile, WriteShard, fitted_size
from schemas.keys import output_shard
from schemas.recipe import Recipe
from schemas.sample import encode_json

# Side-cars with a row a sample; tokens has one a member.
INPUTS = ("sources", "raw", "signals", "selection", "captions", "pairs")


@dataclass(frozen=True, kw_only=True)
class WriteShards:
    """The Beam part: shard numbers of the side-cars in, tars and the list of them out."""

    recipe: Recipe
    subset: str = "t2i"

    def expand(self, shards: Any, store: Storage, output_shards: int) -> Any:
        """Build the graph."""
        writer = WriteShard(
            store=store, subset=self.subset, image=self.recipe.shard, decode=self.recipe.decode
        )
        read = ReadSamples(store, self.recipe.fingerprint(), self.recipe.shard.short_side)
        return (
            shards
            | "Spread" >> beam.Reshuffle().with_input_types(int).with_output_types(int)
            | "Read" >> beam.FlatMap(read).with_output_types(SampleRef)
            | "Assign"
            >> beam.Map(_assigned, output_shards).with_output_types(tuple[int, SampleRef])
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
class ReadSamples:
    """Join the side-cars of one shard into references to its samples."""

    store: Storage
    recipe_fingerprint: str
    short_side: int

    def __call__(self, shard: int) -> Iterator[SampleRef]:
        """Yield the rows that have both a pair and tokens, in key order."""
        tables = {
            folder: {row["key"]: row for row in self._rows(folder, shard)} for folder in INPUTS
        }
        # In the order of keys and then of members, which is that of the side-car.
        for key, arrays in groupby(self._rows("tokens", shard), key=itemgetter("key")):
            if key in tables["pairs"]:
                rows = {folder: table[key] for folder, table in tables.items()}
                yield self._reference(key, rows, rows["raw"], list(arrays))

    def _rows(self, folder: str, shard: int) -> list[dict[str, Any]]:
        return read_table(self.store, sidecar_path(folder, shard)).to_pylist()

    def _reference(
        self,
        key: str,
        rows: dict[str, dict[str, Any]],
        raw: dict[str, Any],
        arrays: list[dict[str, Any]],
    ) -> SampleRef:
        return SampleRef(
            key=key,
            json=self._json(rows, arrays[0]["aspect"]).decode(),
            file=raw["file"],
            offset=raw["offset"],
            length=raw["length"],
            sha256=raw["sha256"],
            arrays=tuple(
                ArrayRef(
                    member=array["member"],
                    file=array["file"],
                    offset=array["offset"],
                    length=array["length"],
                    dtype=array["dtype"],
                    shape=tuple(array["shape"]),
                    sha256=array["sha256"],
                )
                for array in arrays
            ),
        )

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
                "signals": {
                    # As its library writes it: JSON readers have no unsigned 64-bit integers.
                    name: f"{value:016x}" if name == "phash" else value
                    for name, value in signals.items()
                    if name != "key"
                },
                "recipe": self.recipe_fingerprint,
            }
        )


def listing_path(subset: str) -> str:
    """Return the path of the list of a subset's shards."""
    return f"{FOLDER}/{subset}.json"


def _assigned(ref: SampleRef, output_shards: int) -> tuple[int, SampleRef]:
    # A lambda would travel to the workers as bytecode, whatever version they have installed.
    return output_shard(ref.key, output_shards), ref


def _publish(files: list[ShardFile], store: Storage, subset: str) -> str:
    store.commit_bytes(listing_path(subset), json.dumps(sorted(files), indent=1).encode())
    return subset
