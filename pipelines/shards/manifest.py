"""The manifest: the output shards with their hashes, the settings and versions, all counts."""

import json
import os.path
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from functools import reduce
from importlib.metadata import version
from operator import add
from typing import Any

from pipelines.runtime.ownership import old_outputs, surplus_letters
from pipelines.runtime.sidecar import Counts, Origin, dead_letters_path
from pipelines.shards.held_out import PATH, held_out_line
from pipelines.shards.write_shard import (
    FOLDER,
    STAGE,
    VERSION,
    ShardFile,
    listing_path,
    output_number,
)
from pipelines.tokens.facts import made_on
from pipelines.tokens.tokenizers import describe_tokens
from schemas.fingerprint import fingerprint
from schemas.recipe import Recipe
from schemas.sample import CONTRACT_VERSION
from schemas.store.storage import CorpusError, Storage
from schemas.subsets import SUBSETS, Subset

MANIFEST = "manifest.json"
ANSWERS = "answers"  # that captions rest on: a line an engine of the recipe, if it has any
# Packages whose versions can change bytes of pixels or codes.
MADE_WITH = ("vargpt-corpus", "numpy", "pillow", "torch")


def inputs_fingerprint(recipe: Recipe, origins: Mapping[str, Sequence[Origin]]) -> str:
    """Return the hash of all inputs of output shards and funnel: rows and counts of side-cars."""
    contents = {
        folder: [[o.content, asdict(o.counts), dict(o.passed_over)] for o in found]
        for folder, found in origins.items()
    }
    return fingerprint("shard", VERSION, CONTRACT_VERSION, recipe.fingerprint(), contents)


def make_manifest(
    recipe: Recipe,
    store: Storage,
    funnel: Sequence[tuple[str, Counts]],
    inputs: str,
    shard_count: int,
    passed_over: Mapping[str, Mapping[str, int]],
    subsets: Sequence[Subset],
    further: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the manifest of the shards in a corpus.

    Args:
        recipe: the resolved recipe.
        store: the corpus.
        funnel: (stage, counts) of each stage before the shards.
        inputs: `inputs_fingerprint` of the side-cars.
        shard_count: number of shards of side-cars.
        passed_over: counts of entries that are not rows, by source and kind.
        subsets: that the build made.
        further: see `further_lines`.
    """
    files = {
        subset: [ShardFile(*file) for file in json.loads(store.read(listing_path(subset.name)))]
        for subset in subsets
    }
    tokens = tokens_of(recipe, store, shard_count)
    return describe(recipe, files, funnel, inputs, tokens, versions(), passed_over, further)


def further_lines(
    recipe: Recipe, store: Storage, answers: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return what the manifest says of held-out samples, and of `answers`: `bill` of captions."""
    line = {ANSWERS: [dict(each) for each in answers]} if answers else {}
    return held_out_line(store, recipe.shard.held_out) | line


def versions() -> dict[str, str]:
    """Return the installed versions of the packages in `MADE_WITH`."""
    return {name: version(name) for name in MADE_WITH}


def tokens_of(recipe: Recipe, store: Storage, shard_count: int) -> list[dict[str, Any]]:
    """Return a line for each array member: its format, its tokenizer, and the devices used."""
    return [
        {**described, **made_on(store, str(described["member"]), shard_count)}
        for described in describe_tokens(recipe.vq_tokens)
    ]


def describe(
    recipe: Recipe,
    files: Mapping[Subset, Sequence[ShardFile]],
    funnel: Sequence[tuple[str, Counts]],
    inputs: str,
    tokens: Sequence[Mapping[str, Any]],
    made_with: Mapping[str, str],
    passed_over: Mapping[str, Mapping[str, int]],
    further: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the manifest of a corpus; `funnel` has the stages before the shards."""
    every = (file for of_subset in files.values() for file in of_subset)
    written = reduce(add, (file.counts for file in every), Counts())
    return lay_out(
        about={
            "name": recipe.name,
            "description": recipe.description,
            "recipe": recipe.fingerprint(),
            "inputs": inputs,
        },
        made_with=made_with,
        tokens=tokens,
        subsets=files,
        further={
            # Rows that stages after dedup dropped or failed.
            "selected_but_not_written": dict(funnel)["dedup"].kept - written.kept,
            "passed_over": {name: dict(counts) for name, counts in passed_over.items()},
            **further,
        },
        funnel=[*funnel, (STAGE, written)],
    )


def lay_out(
    *,
    about: Mapping[str, Any],
    made_with: Mapping[str, str],
    tokens: Sequence[Mapping[str, Any]],
    subsets: Mapping[Subset, Sequence[ShardFile]],
    further: Mapping[str, Any],
    funnel: Sequence[tuple[str, Counts]],
) -> dict[str, Any]:
    """Return a manifest in the layout that all commands share.

    Args:
        about: name, description and settings of the shards.
        made_with: versions of packages, see `versions`.
        tokens: a line for each array of an image.
        subsets: the output shards of each subset, in order.
        further: counts that only this command has.
        funnel: (stage, counts) of each stage, in order.
    """
    return {
        "contract": CONTRACT_VERSION,
        **about,
        "made_with": dict(made_with),
        "tokens": [dict(made) for made in tokens],
        "subsets": {subset.name: _subset(files) for subset, files in subsets.items()},
        **further,
        "funnel": [funnel_line(stage, counts) for stage, counts in funnel],
    }


def _subset(files: Sequence[ShardFile]) -> dict[str, Any]:
    return {
        "samples": sum(file.samples for file in files),
        "bytes": sum(file.bytes for file in files),
        "shards": [
            {"path": file.path, "bytes": file.bytes, "sha256": file.sha256, "samples": file.samples}
            for file in files
        ],
    }


def old_shards(
    store: Storage, manifest: Mapping[str, Any], numbers: Mapping[str, Collection[int]]
) -> list[str]:
    """Return output shards of earlier builds that the manifest does not name.

    Args:
        store: the corpus.
        manifest: the manifest; shards that it names are not returned.
        numbers: numbers of the output shards that this corpus wrote, by subset.
    """
    listed = {
        os.path.splitext(os.path.basename(shard["path"]))[0]
        for subset in manifest["subsets"].values()
        for shard in subset["shards"]
    }
    stages = {name: SUBSETS[name].shard_stage for name in numbers}
    kept = {
        dead_letters_path(stages[name], output_number(stem))
        for stem in listed
        if (name := stem.rpartition("-")[0]) in stages
    }
    letters = {
        path
        for name, each in numbers.items()
        for path in surplus_letters(store, stages[name], each)
    }
    return [*old_outputs(store, listed, numbers), *sorted(letters - kept)]


def read_manifest(store: Storage) -> dict[str, Any]:
    """Return the manifest of the last build; {} if there is none.

    Raises:
        CorpusError: the manifest is damaged.
    """
    if not store.exists(MANIFEST):
        return {}
    try:
        manifest: Any = json.loads(store.read(MANIFEST))
        for subset in manifest["subsets"].values():
            for shard in subset["shards"]:
                os.path.basename(shard["path"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorpusError(
            f"{MANIFEST}: damaged ({error!r:.80}); remove it and build again"
        ) from error
    return manifest


def check_contract(store: Storage) -> None:
    """Refuse a folder whose manifest has another version of the contract.

    Raises:
        CorpusError: the versions differ.
    """
    try:
        found = json.loads(store.read(MANIFEST))["contract"]
    except (CorpusError, OSError, ValueError, TypeError, KeyError, RecursionError):
        return  # no manifest, or a damaged one, which is reported where it is read
    if type(found) is not int or found != CONTRACT_VERSION:
        raise CorpusError(
            f"{store.root}: {MANIFEST} is of shard contract {found!r}, this release reads and "
            f"writes contract {CONTRACT_VERSION}; build into another folder, or go on with the "
            "release that made it"
        )


def has_shards(store: Storage, manifest: Mapping[str, Any]) -> bool:
    """Return whether the shards of a manifest and their lists exist; contents are not read."""
    there = {f"{FOLDER}/{name}" for name in store.listing(FOLDER)}
    for name, subset in manifest["subsets"].items():
        listed = [shard["path"] for shard in subset["shards"]]
        try:
            files = json.loads(store.read(listing_path(name)))
            if [path for path, *_ in files] != listed:
                return False
        except (FileNotFoundError, ValueError, TypeError):  # the list is written again
            return False
        indexes = [f"{os.path.splitext(path)[0]}.parquet" for path in listed]
        if not there.issuperset([*listed, *indexes]):
            return False
    return "held_out" not in manifest or PATH in there


def written(manifest: Mapping[str, Any]) -> Counts:
    """Return the counts of the shard stage: samples written and failed."""
    line = manifest["funnel"][-1]
    return Counts(**{name: line[name] for name in ("rows_in", "kept", "dropped", "failed")})


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """Return the bytes of a manifest file."""
    return json.dumps(manifest, indent=2, ensure_ascii=False).encode() + b"\n"


def funnel_line(stage: str, counts: Counts) -> dict[str, Any]:
    """Return the funnel line of a stage."""
    return {
        "stage": stage,
        "rows_in": counts.rows_in,
        "kept": counts.kept,
        "dropped": dict(counts.dropped),
        "failed": dict(counts.failed),
    }
