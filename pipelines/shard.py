"""shard: write the corpus as WebDataset tars, by shuffling references to bytes, never bytes."""

import hashlib
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
from PIL import Image

from filters.decode import decode
from pipelines.images import read_images
from pipelines.map_shards import Concurrently
from pipelines.sidecar import (
    Counts,
    Origin,
    make_origin,
    read_origin,
    read_table,
    sidecar_path,
    write_sidecar,
)
from pipelines.storage import CorpusError, Storage
from pipelines.tar_writer import TarWriter
from schemas.fingerprint import fingerprint
from schemas.keys import output_shard
from schemas.recipe import Decode, Recipe
from schemas.recipe import Shard as ShardRecipe
from schemas.sample import CONTRACT_VERSION, encode_json
from schemas.tables import SHARD_INDEX

VERSION = 1
FOLDER = "shards"
# Side-cars that a sample's parts come from.
INPUTS = ("sources", "raw", "signals", "selection", "captions", "pairs", "tokens")
BATCH_ROWS = 32
JPEG_MAX_PX = 65_500  # of a side, libjpeg's JPEG_MAX_DIMENSION


class SampleRef(NamedTuple):
    """One sample on its way to its shard: its text, and where its bytes lie."""

    key: str
    json: str  # KEY.json, as it will stand in the shard
    file: str
    offset: int
    length: int
    sha256: str
    tokens_member: str
    tokens_file: str
    tokens_offset: int
    tokens_length: int
    tokens_dtype: str
    tokens_sha256: str


class ShardFile(NamedTuple):
    """An output shard, for the manifest."""

    path: str  # relative to the corpus
    size_bytes: int
    sha256: str
    samples: int


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
            >> beam.Map(lambda ref: (output_shard(ref.key, output_shards), ref)).with_output_types(
                tuple[int, SampleRef]
            )
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
            folder: {
                row["key"]: row
                for row in read_table(self.store, sidecar_path(folder, shard)).to_pylist()
            }
            for folder in INPUTS
        }
        for key, tokens in tables["tokens"].items():
            if key in tables["pairs"]:
                rows = {folder: table[key] for folder, table in tables.items()}
                yield self._reference(key, rows, rows["raw"], tokens)

    def _reference(
        self, key: str, rows: dict[str, dict[str, Any]], raw: dict[str, Any], tokens: dict[str, Any]
    ) -> SampleRef:
        return SampleRef(
            key=key,
            json=self._json(rows).decode(),
            file=raw["file"],
            offset=raw["offset"],
            length=raw["length"],
            sha256=raw["sha256"],
            tokens_member=tokens["member"],
            tokens_file=tokens["file"],
            tokens_offset=tokens["offset"],
            tokens_length=tokens["length"],
            tokens_dtype=tokens["dtype"],
            tokens_sha256=tokens["sha256"],
        )

    def _json(self, rows: dict[str, dict[str, Any]]) -> bytes:
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


def _publish(files: list[ShardFile], store: Storage, subset: str) -> str:
    store.commit_bytes(listing_path(subset), json.dumps(sorted(files), indent=1).encode())
    return subset


def fitted_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Return the (width, height) in px of an image shrunk to `short_side`; never enlarged.

    One that is still longer than a JPEG can be is shrunk until it fits.

    >>> fitted_size(1000, 600, 300), fitted_size(200, 100, 300), fitted_size(70_000, 80, 300)
    ((500, 300), (200, 100), (65500, 75))
    """
    scale = min(1, short_side / min(width, height), JPEG_MAX_PX / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


@dataclass(frozen=True, kw_only=True)
class WriteShard:
    """Fetch the bytes of one output shard's samples and write its tar and its index."""

    store: Storage
    subset: str
    image: ShardRecipe
    decode: Decode

    def __call__(self, group: tuple[int, Iterable[SampleRef]]) -> ShardFile:
        """Write the shard, unless the very same one is there."""
        number, refs = group[0], sorted(group[1])
        name = f"{FOLDER}/{self.subset}-{number:06d}"
        wanted = self._fingerprint(refs)
        found = read_origin(self.store, f"{name}.parquet")
        if found is None or found.fingerprint != wanted or not self.store.exists(f"{name}.tar"):
            found = self._write(name, refs, wanted)
        tar = found.tar
        return ShardFile(f"{name}.tar", int(tar["bytes"]), str(tar["sha256"]), found.counts.kept)

    def _fingerprint(self, refs: Sequence[SampleRef]) -> str:
        made_of = [
            [ref.json, ref.sha256, ref.tokens_member, ref.tokens_dtype, ref.tokens_sha256]
            for ref in refs
        ]
        settings = [self.image.model_dump(mode="json"), self.decode.model_dump(mode="json")]
        return fingerprint("shard", VERSION, CONTRACT_VERSION, self.subset, settings, made_of)

    def _write(self, name: str, refs: Sequence[SampleRef], wanted: str) -> Origin:
        with self.store.scratch() as scratch:
            local = scratch / "shard.tar"
            index = self._write_tar(local, refs)
            with open(local, "rb") as file:
                tar = {
                    "bytes": local.stat().st_size,
                    "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
                }
            # Or, killed between the two, a later build would find the old index of a new tar.
            self.store.remove(f"{name}.parquet")
            self.store.commit_file(f"{name}.tar", local)
        table = pa.Table.from_pylist(index, schema=SHARD_INDEX)
        counts = Counts(rows_in=len(refs), kept=len(refs))
        origin = make_origin("shard", wanted, table, counts, tar)
        write_sidecar(self.store, f"{name}.parquet", table, origin)
        return origin

    def _write_tar(self, local: Path, refs: Sequence[SampleRef]) -> list[dict[str, Any]]:
        index: list[dict[str, Any]] = []
        by_key = {ref.key: ref for ref in refs}
        with TarWriter(local) as tar:
            for batch in read_images([ref._asdict() for ref in refs], self.store, BATCH_ROWS):
                refs_of_batch = [by_key[row["key"]] for row, _ in batch]
                codes = self._read_tokens(refs_of_batch)
                for ref, (_, body), array in zip(refs_of_batch, batch, codes, strict=True):
                    members = {
                        "jpg": self._jpeg(body),
                        "json": ref.json.encode(),
                        ref.tokens_member: array,
                    }
                    for member, data in members.items():
                        offset, length = tar.add(f"{ref.key}.{member}", data)
                        index.append(
                            {"key": ref.key, "member": member, "offset": offset, "length": length}
                        )
        return index

    def _read_tokens(self, refs: Sequence[SampleRef]) -> list[bytes]:
        ranges = [(ref.tokens_file, ref.tokens_offset, ref.tokens_length) for ref in refs]
        bodies = self.store.read_ranges(ranges)
        for ref, body in zip(refs, bodies, strict=True):
            if hashlib.sha256(body).hexdigest() != ref.tokens_sha256:
                raise CorpusError(
                    f"{ref.tokens_file}: codes of {ref.key} (offset {ref.tokens_offset:,}) are not "
                    "what was written; remove the .parquet of the same number and build again"
                )
        return [
            _npy(np.frombuffer(body, ref.tokens_dtype))
            for ref, body in zip(refs, bodies, strict=True)
        ]

    def _jpeg(self, body: bytes) -> bytes:
        image = decode(body, max_pixels=self.decode.max_pixels, background=self.decode.background)
        size = fitted_size(*image.size, self.image.short_side)
        if size != image.size:
            image = image.resize(size, Image.Resampling.LANCZOS)
        encoded = io.BytesIO()
        image.save(encoded, "JPEG", quality=self.image.jpeg_quality)
        return encoded.getvalue()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()
