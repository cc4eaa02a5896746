"""shard: write the corpus as WebDataset tars, by exchanging references to bytes, never bytes.

Keys are hashes, so an output shard has samples of every input shard. If each output shard read its
samples from the side-cars, it would read all side-cars, and work would grow as the square of the
corpus. So samples are exchanged, in two steps. A task for each group of side-car shards joins them
into references, with the JSON of each sample, and sends these to bundles of output shards. A task
for each bundle sends them to the output shards. Each reference is written and read twice, but there
are many times fewer slices than from groups directly to output shards.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.scores.registry import columns_of
from pipelines.runtime.exchange import (
    Outputs,
    Slices,
    Tables,
    Task,
    assign_groups,
    run_tasks,
    select_outputs,
    send,
)
from pipelines.runtime.face_boxes import read_boxes
from pipelines.runtime.sidecar import column, kept_keys, read_table, sidecar_path
from pipelines.runtime.stage import Stage
from pipelines.shards.held_out import held_out_keys
from pipelines.shards.sample_image import fitted_size
from pipelines.shards.write_shard import (
    OF_ARRAY,
    OF_IMAGE,
    REFERENCES,
    ShardFile,
    WriteShard,
    listing_bytes,
    listing_path,
)
from pipelines.sources.shard_subsets import subsets_of
from schemas.keys import output_shard
from schemas.recipe import BlurConfig, Recipe
from schemas.sample import encode_json
from schemas.store.storage import Storage
from schemas.subsets import EDIT, T2I, Subset

# Columns of side-cars with a row a sample; None for all.
COLUMNS: Mapping[str, Sequence[str] | None] = {
    "sources": (
        *("key", "text", "title", "source", "url", "licence", "author", "tags"),
        *("edit_type", "scores", "listed"),
    ),
    "raw": (*OF_IMAGE, "edit"),
    "signals": None,
    "captions": None,
    "pairs": None,
}
# References that one task holds, for a group or a bundle, at about 2 KB each.
SAMPLES_A_TASK = 100_000
SAMPLES = "samples"  # the only output of each task


@dataclass(frozen=True, kw_only=True)
class Shard(Stage):
    """Build the Beam graph: numbers of side-car shards in, tars and the lists of them out."""

    recipe: Recipe
    rows_of: str = "tokens"
    samples_a_task: int = SAMPLES_A_TASK

    @classmethod
    def from_recipe(cls, recipe: Recipe, rows_of: str) -> "Shard":
        """Return the stage as a recipe has it."""
        return cls(recipe=recipe, rows_of=rows_of)

    def expand(self, root: Any, store: Storage, outputs: Sequence["SubsetOutputs"]) -> Any:
        """Build the graph: a part of it for each subset."""
        import apache_beam as beam

        from pipelines.engines.engine import shard_numbers

        class Subsets(beam.PTransform):  # gives the parts of each subset names of their own
            def __init__(self, stage: Shard, of: SubsetOutputs) -> None:
                super().__init__(of.subset.name)
                self.stage, self.of = stage, of

            def expand(self, input_or_inputs: Any) -> Any:
                numbers = shard_numbers(input_or_inputs, self.of.shards)
                return self.stage.expand_subset(numbers, store, self.of)

        return [root | Subsets(self, of) for of in outputs]

    def expand_subset(self, shards: Any, store: Storage, of: "SubsetOutputs") -> Any:
        """Build the part of the graph for one subset."""
        import apache_beam as beam

        from pipelines.runtime.map_shards import Concurrently

        writer = WriteShard(
            store=store,
            subset=of.subset,
            image=self.recipe.shard,
            decode=self.recipe.decode,
            blur=self.recipe.blur,
        )
        by_output = ByOutputShard(
            of.outputs,
            max(1, self.samples_a_task // self.recipe.shard.samples),
            self.recipe.shard.shuffle,
        )
        read = ReadSamples(
            store,
            self.recipe.fingerprint(),
            self.recipe.shard.short_side,
            by_output,
            self.rows_of,
            of.subset,
            stored_scores(self.recipe),
            self.recipe.blur,
            self.recipe.caption.all,
            is_split=self.recipe.shard.held_out > 0,
        )
        samples = (
            assign_groups(shards, of.groups)
            | "ReadTogether" >> beam.GroupByKey()
            | "Read" >> beam.ParDo(Concurrently(read)).with_output_types(Slices)
        )
        name = f"{of.subset.shard_stage}-bundle"
        cut = Task(name=name, store=store, function=by_output.cut)
        bundled = run_tasks([select_outputs(samples, "ByBundle", SAMPLES)], cut)
        return (
            select_outputs(bundled, "Bundled", SAMPLES)
            | "ByOutputShard" >> beam.GroupByKey()
            | "Write" >> beam.ParDo(Concurrently(writer)).with_output_types(ShardFile)
            | "Files" >> beam.combiners.ToList()
            | "Publish" >> beam.Map(_publish, store, of.subset).with_output_types(str)
        )


@dataclass(frozen=True, kw_only=True)
class SubsetOutputs:
    """The shards of side-cars of a subset, and how many output shards they fill."""

    subset: Subset
    shards: Sequence[int]  # numbers of side-cars
    samples: int  # of those that `tokens` kept
    outputs: int  # output shards
    groups: int = 1  # tasks that read, which changes no byte

    @classmethod
    def of(
        cls, subset: Subset, kept: Mapping[int, int], held_out: int, per_shard: int
    ) -> "tuple[SubsetOutputs, SubsetOutputs | None]":
        """Return those of a subset, and those of its held-out samples if it has any.

        Args:
            subset: the subset.
            kept: samples of each of its shards of side-cars, by number.
            held_out: the samples that are held out.
            per_shard: samples of an output shard, on average.
        """
        shards, samples = sorted(kept), sum(kept.values()) - held_out
        groups = math.ceil(sum(kept.values()) / SAMPLES_A_TASK) or 1

        def outputs(subset: Subset, samples: int) -> SubsetOutputs:
            count = output_shard_count(samples, per_shard)
            return cls(subset=subset, shards=shards, samples=samples, outputs=count, groups=groups)

        others = outputs(subset, samples)
        return others, outputs(subset.held_out, held_out) if held_out else None


def outputs_of(
    recipe: Recipe,
    sources: Sequence[str],
    kept: Sequence[int],
    held_out: Mapping[str, int] = MappingProxyType({}),
) -> tuple[SubsetOutputs, ...]:
    """Return the output shards of each subset of a recipe, those of held-out samples last.

    Args:
        recipe: the recipe.
        sources: the source of each shard of side-cars.
        kept: the samples of each shard of side-cars.
        held_out: how many of them are held out, by subset.
    """
    subset_of = {source.name: source.subset for source in recipe.sources}
    outputs = [
        SubsetOutputs.of(
            subset,
            {n: kept[n] for n, name in enumerate(sources) if subset_of[name] == subset.name},
            held_out.get(subset.name, 0),
            recipe.shard.samples,
        )
        for subset in subsets_of(recipe)
    ]
    return tuple(of for both in zip(*outputs, strict=True) for of in both if of)


def stored_scores(recipe: Recipe) -> tuple[str, ...]:
    """Return the scores that samples hold: all but lists, as embeddings and boxes are."""
    scores = columns_of(recipe.score.scorers)
    return tuple(column.name for column in scores if not pa.types.is_nested(column.type))


def output_shard_count(samples: int, per_shard: int) -> int:
    """Return how many output shards hold `samples` samples at `per_shard` on average.

    >>> output_shard_count(11, 5)
    3
    """
    return max(1, math.ceil(samples / per_shard))


@dataclass(frozen=True)
class ByOutputShard:
    """Map samples to output shards, and to bundles of output shards."""

    output_shards: int
    bundle: int  # output shards in a bundle
    shuffle: str = ""

    def shards_of(self, samples: pa.Table) -> np.ndarray:
        """Return the output shard of each sample."""
        return np.array(
            [output_shard(key, self.output_shards, self.shuffle) for key in column(samples, "key")],
            np.int64,
        )

    def bundles_of(self, samples: pa.Table) -> np.ndarray:
        """Return the bundle of each sample."""
        return self.shards_of(samples) // self.bundle

    def cut(self, tables: Tables) -> Outputs:
        """Send the samples of a bundle to their output shards."""
        return {SAMPLES: (tables[SAMPLES], self.shards_of(tables[SAMPLES]))}


@dataclass(frozen=True)
class ReadSamples:
    """Join the side-cars of a group of shards into references, and send them to bundles."""

    store: Storage
    recipe_fingerprint: str
    short_side: int
    by_output: ByOutputShard
    rows_of: str = "tokens"  # folder of the stage before
    subset: Subset = T2I
    scores: Sequence[str] = ()  # columns that samples hold
    blur: BlurConfig | None = None
    all_captions: bool = False  # whether samples hold all captions of their row
    is_split: bool = False  # whether some samples are held out

    def __call__(self, group: tuple[int, Iterable[int]]) -> Slices:
        """Write the group's exchange file, sorted by bundle."""
        number, shards = group
        tables = [
            pa.Table.from_pylist(list(self.references(shard)), schema=REFERENCES)
            for shard in sorted(shards)
        ]
        table = pa.concat_tables(tables)
        outputs = {SAMPLES: (table, self.by_output.bundles_of(table))}
        return send(self.store, f"{self.subset.shard_stage}-read-{number:05d}", outputs)

    def references(self, shard: int) -> Iterator[dict[str, Any]]:
        """Yield a reference for each row that the stage before kept, in key order.

        Where samples are held out, it is their subset or that of the others that gets the row.
        """
        wanted = kept_keys(self.store, self.rows_of, shard)
        if self.is_split:
            held = pc.is_in(wanted, held_out_keys(self.store))
            wanted = wanted.filter(held if self.subset.held_out_of else pc.invert(held))
        tables = {
            folder: {row["key"]: row for row in self._rows(folder, shard, columns, wanted)}
            for folder, columns in {**COLUMNS, "scores": ("key", *self.scores)}.items()
        }
        faces = read_boxes(self.store, shard, self.blur)
        tokens = self._rows("tokens", shard, ("key", "aspect", *OF_ARRAY), wanted)
        # The side-car is sorted by key, then by member; a row without a member has no array.
        for key, arrays in groupby(tokens, key=itemgetter("key")):
            rows = {folder: table[key] for folder, table in tables.items()}
            yield self._reference(rows, list(arrays), faces.get(key, []))

    def _rows(
        self, folder: str, shard: int, columns: Sequence[str] | None, wanted: pa.Array
    ) -> list[dict[str, Any]]:
        table = read_table(self.store, sidecar_path(folder, shard), columns)
        return json_rows(table.filter(pc.is_in(table["key"], wanted)))

    def _reference(
        self,
        rows: dict[str, dict[str, Any]],
        arrays: Sequence[dict[str, Any]],
        faces: Sequence[Sequence[float]],
    ) -> dict[str, Any]:
        """Return a row of REFERENCES; `from_pylist` ignores columns that it does not name."""
        blurred = {self.blur.counted_as: len(faces)} if self.blur else {}
        aspect = arrays[0]["aspect"]
        values = self._pair(rows) if self.subset.is_pairs else self._values(rows, blurred)
        return {
            **rows["raw"],
            "json": encode_json({**values, "crop_aspect": aspect}, self.subset).decode(),
            "faces": faces,
            "arrays": [array for array in arrays if array["member"]],
        }

    def _captions(self, row: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return the captions of a row that its sample holds, the chosen one first."""
        names = ("style", "origin", "caption")
        passed = (each for each in row["written"] if each["caption"])
        captions = [{name: each[name] for name in names} for each in passed]
        captions.sort(key=lambda each: each["style"] != row["caption_style"])
        return captions if self.all_captions else captions[:1]

    def _values(
        self, rows: dict[str, dict[str, Any]], blurred: Mapping[str, int]
    ) -> dict[str, Any]:
        """Return the JSON of a sample with one image that it is about, but for `crop_aspect`."""
        source, signals = rows["sources"], rows["signals"]
        flags = {flag["name"]: flag["value"] for flag in rows["captions"]["flags"]}
        values = {**signals, **rows["scores"], **blurred, **flags}
        width, height = fitted_size(signals["width"], signals["height"], self.short_side)
        named = ("key", "text", "title", "source", "url", "licence", "author", "listed")
        made = {name: source[name] for name in named} | {
            "tags": ", ".join(source["tags"]),
            "messages": rows["pairs"]["messages"],
            "template": rows["pairs"]["template"],
            "caption": rows["captions"]["caption"],
            "caption_origin": rows["captions"]["caption_origin"],
            "caption_style": rows["captions"]["caption_style"],
            "captions": self._captions(rows["captions"]),
            "sha256": rows["raw"]["sha256"],
            "width": width,
            "height": height,
            "signals": {n: v for n, v in values.items() if n not in ("key", "images")},
            "recipe": self.recipe_fingerprint,
        }
        if self.subset.kind == EDIT:
            [given] = rows["raw"]["images"]
            told = rows["raw"]["edit"]  # of an edit that was made
            made |= {
                "edit_type": json.loads(told)["edit"] if told else source["edit_type"],
                "source_sha256": given["sha256"],
                "listed": told or source["listed"],
            }
        return made

    def _pair(self, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Return the JSON of a pair as a data set lists it, but for `crop_aspect`."""
        source = rows["sources"]
        chosen, rejected = source["scores"] or (0.0, 0.0)
        return {
            **{name: source[name] for name in ("key", "source", "url", "licence", "listed")},
            "messages": rows["pairs"]["messages"],
            "prompt": rows["captions"]["caption"],
            "pairs": "listed",
            "chosen_seed": "",
            "rejected_seed": "",
            "chosen_score": chosen,
            "rejected_score": rejected,
            "margin": abs(chosen - rejected),
            "scorer": "",
            "samples": 2,
            "model": "",
            "sampling": "",
        }


def json_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows of a table as JSON holds them.

    Readers of JSON have no integers of 64 bits without a sign: those are written in hex.
    """
    words = [field.name for field in table.schema if field.type == pa.uint64()]
    return [row | {name: f"{row[name]:016x}" for name in words} for row in table.to_pylist()]


def _publish(files: list[ShardFile], store: Storage, subset: Subset) -> str:
    store.commit_bytes(listing_path(subset.name), listing_bytes(files))
    return subset.name
