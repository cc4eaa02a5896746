"""The manifest: every file of the corpus with its hash, what made it, and all counts."""

import json
import os.path
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import reduce
from importlib.metadata import version
from operator import add
from typing import Any

from pipelines.shard import listing_path
from pipelines.sidecar import Counts, Origin
from pipelines.storage import Storage
from pipelines.token_facts import made_on
from pipelines.tokenizers import describe_tokens
from pipelines.write_shard import FOLDER, STAGE, VERSION, ShardFile, output_number
from schemas.fingerprint import fingerprint
from schemas.keys import shard_name
from schemas.recipe import Recipe
from schemas.sample import CONTRACT_VERSION

MANIFEST = "manifest.json"
SUBSET = "t2i"
# Whose versions decide bytes: pixels, codes, and our own code.
MADE_WITH = ("vargpt-corpus", "numpy", "pillow", "torch")


def inputs_fingerprint(recipe: Recipe, origins: Mapping[str, Sequence[Origin]]) -> str:
    """Hash all that the output shards and the funnel are made of: rows and counts of side-cars."""
    contents = {
        folder: [[origin.content, asdict(origin.counts)] for origin in found]
        for folder, found in origins.items()
    }
    return fingerprint("shard", VERSION, CONTRACT_VERSION, recipe.fingerprint(), contents)


def make_manifest(
    recipe: Recipe,
    store: Storage,
    funnel: Sequence[tuple[str, Counts]],
    inputs: str,
    shard_count: int,
) -> dict[str, Any]:
    """Describe the shards that lie in the corpus; `shard_count` is of the side-cars."""
    files = [ShardFile(*file) for file in json.loads(store.read(listing_path(SUBSET)))]
    made_with = {name: version(name) for name in MADE_WITH}
    return describe(recipe, files, funnel, inputs, tokens_of(recipe, store, shard_count), made_with)


def tokens_of(recipe: Recipe, store: Storage, shard_count: int) -> list[dict[str, Any]]:
    """Describe the arrays of every member: what they are, and what made them on what."""
    return [
        {**described, **made_on(store, str(described["member"]), shard_count)}
        for described in describe_tokens(recipe.vq_tokens)
    ]


def describe(
    recipe: Recipe,
    files: Sequence[ShardFile],
    funnel: Sequence[tuple[str, Counts]],
    inputs: str,
    tokens: Sequence[Mapping[str, Any]],
    made_with: Mapping[str, str],
) -> dict[str, Any]:
    """Lay out a manifest; `funnel` is of the stages before the shards."""
    shards = [
        {"path": file.path, "bytes": file.bytes, "sha256": file.sha256, "samples": file.samples}
        for file in files
    ]
    written = reduce(add, (file.counts for file in files), Counts())
    samples = written.kept
    selected = dict(funnel)["select"].kept
    return {
        "contract": CONTRACT_VERSION,
        "name": recipe.name,
        "description": recipe.description,
        "recipe": recipe.fingerprint(),
        "inputs": inputs,
        "made_with": dict(made_with),
        "tokens": [dict(made) for made in tokens],
        "subsets": {
            SUBSET: {
                "samples": samples,
                "bytes": sum(shard["bytes"] for shard in shards),
                "shards": shards,
            }
        },
        # Dead in caption, pair, vq_tokens or shard, which count them; a row may be dead in two.
        "selected_but_dead": selected - samples,
        "funnel": [funnel_line(stage, counts) for stage, counts in [*funnel, ("shard", written)]],
    }


def remove_old_shards(store: Storage, manifest: Mapping[str, Any]) -> None:
    """Remove output shards of earlier builds that the manifest does not name."""
    listed = {
        os.path.splitext(os.path.basename(shard["path"]))[0]
        for subset in manifest["subsets"].values()
        for shard in subset["shards"]
    }
    for name in store.listing(FOLDER):
        stem, suffix = os.path.splitext(name)
        if suffix in (".tar", ".parquet") and stem not in listed:
            store.remove(f"{FOLDER}/{name}")
    numbers = {shard_name(output_number(stem)) for stem in listed}
    for name in store.listing(f"dead_letters/{STAGE}"):
        if os.path.splitext(name)[0] not in numbers:
            store.remove(f"dead_letters/{STAGE}/{name}")


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """Write a manifest as it stands in the corpus."""
    return json.dumps(manifest, indent=2, ensure_ascii=False).encode() + b"\n"


def funnel_line(stage: str, counts: Counts) -> dict[str, Any]:
    """Return what became of the rows of a stage."""
    return {
        "stage": stage,
        "rows_in": counts.rows_in,
        "kept": counts.kept,
        "dropped": dict(counts.dropped),
        "dead": dict(counts.dead),
    }
