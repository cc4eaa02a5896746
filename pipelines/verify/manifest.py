"""Checks of the files that describe the whole corpus: each is made again and compared."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

from pipelines.captions.bill import bill
from pipelines.out_folder import RECIPE
from pipelines.report.build_log import BEGUN, LOG
from pipelines.runtime.claims import CLAIMS, claims_bytes, load_claims
from pipelines.runtime.sidecar import Counts, Origin
from pipelines.shards.manifest import (
    MADE_WITH,
    MANIFEST,
    describe,
    further_lines,
    inputs_fingerprint,
    manifest_bytes,
    tokens_of,
)
from pipelines.shards.write_shard import ShardFile, listing_bytes, listing_path
from pipelines.sources.plan import PLAN, passed_over, published_plan
from pipelines.stage_table import STAGES
from pipelines.verify.faults import Fault, differences
from pipelines.verify.look import Look, is_count
from schemas.recipe import Recipe
from schemas.recipe_file import dump_recipe
from schemas.source_config import Source
from schemas.store.lock import LOCK_NAME, holder_of
from schemas.store.storage import CorpusError, Storage
from schemas.subsets import Subset

LOGGED = {"build", "stage", "seconds", "shards_run", "shards_fresh", "job", "job_seconds"}
VERSION = re.compile(r"\d+(\.\w+){1,4}([+-][\w.+-]{1,40})?")


def manifest_again(
    look: Look,
    manifest: Any,
    origins: Mapping[str, Sequence[Origin]],
    files: Mapping[Subset, Sequence[ShardFile]],
) -> dict[str, Any]:
    """Make the manifest again from the footers of side-cars and the output shards."""
    counts = {f: reduce(add, (o.counts for o in found), Counts()) for f, found in origins.items()}
    return describe(
        look.recipe,
        files,
        [(stage.name, counts[folder]) for folder, stage in look.stages.items()],
        inputs_fingerprint(look.recipe, origins),
        tokens_of(look.recipe, look.store, len(look.sources)),
        made_with(manifest),
        passed_over(look.store, origins["sources"]),
        further_lines(look.recipe, look.store, bill(look.recipe.caption, origins["captions"])),
    )


def manifest_sound(store: Storage, manifest: Any, expected: dict[str, Any]) -> Iterator[Fault]:
    """Compare the manifest with the expected one, by value and by bytes."""
    differing = [*differences(manifest, expected)]
    yield from (Fault(MANIFEST, what) for what in differing)
    if not differing and store.read(MANIFEST) != manifest_bytes(expected):
        yield Fault(MANIFEST, "is not written as the build writes it")


def stated_bytes(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return `bytes` and `sha256` of a tar's line in the manifest, each if its type is right."""
    kinds = (("bytes", int), ("sha256", str))
    return {name: line[name] for name, kind in kinds if type(line.get(name)) is kind}


def made_with(manifest: Any) -> dict[str, str]:
    """Return the versions that the manifest states, with "a version" for an invalid one.

    No other file holds them.
    """
    stated = manifest.get("made_with") if isinstance(manifest, dict) else None
    stated = stated if isinstance(stated, dict) else {}
    versions = {name: stated.get(name) for name in MADE_WITH}
    return {
        name: version if isinstance(version, str) and VERSION.fullmatch(version) else "a version"
        for name, version in versions.items()
    }


def listing_sound(store: Storage, subset: Subset, files: Sequence[ShardFile]) -> Iterator[Fault]:
    """Compare the list of shards, from which the manifest is made, with the shards."""
    path = listing_path(subset.name)
    body, expected = store.read(path), listing_bytes(files)
    if body != expected:
        differing = [*differences(json.loads(body), json.loads(expected))]
        differing = differing or ["is not written as the build writes it"]
        yield from (Fault(path, what) for what in differing)


def recipe_sound(store: Storage, recipe: Recipe) -> Iterator[Fault]:
    """Check that the recipe, read and written again, is the same file."""
    if store.read(RECIPE) != dump_recipe(recipe).encode():
        yield Fault(RECIPE, "is not written as the build writes it")


def rows_sound(store: Storage, sources: Sequence[str], listed: Sequence[Origin]) -> Iterator[Fault]:
    """Check that the plan has the number of rows that ingest read from each source."""
    read: Counter[str] = Counter()
    for source, origin in zip(sources, listed, strict=True):
        read[source] += origin.counts.rows_in
    for name, part in published_plan(store).items():
        if part.get("rows") != read[name]:
            what = f"{name}: rows is {part.get('rows')!r}, its side-cars have {read[name]:,}"
            yield Fault(PLAN, what)


def claims_sound(store: Storage) -> Iterator[Fault]:
    """Check that the file of claimed names is written as a build writes it."""
    if store.read(CLAIMS) != claims_bytes(load_claims(store) or {}):
        yield Fault(CLAIMS, "is not written as the build writes it")


def log_sound(store: Storage) -> Iterator[Fault]:
    """Check that each line of the log describes a stage; its seconds are in no other file."""
    body = store.read(LOG)
    if not body.endswith(b"\n"):
        yield Fault(LOG, "its last line is cut short")
    for number, text in enumerate(body.splitlines(), start=1):
        try:
            line = json.loads(text)
            sound = line.keys() - {"waited"} == LOGGED and line["stage"] in (BEGUN, *STAGES)
            sound &= all(_is_duration(line[name]) for name in ("seconds", "job_seconds"))
            sound &= 0 <= line.get("waited", 0.0) <= 1
            sound &= all(isinstance(line[name], str) for name in ("build", "job"))
            sound &= all(is_count(line[name]) for name in ("shards_run", "shards_fresh"))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            sound = False
        if not sound:
            yield Fault(LOG, f"line {number} is not a line that a build writes: {text[:80]!r}")


def lock_sound(store: Storage) -> Iterator[Fault]:
    """Check that the lock file is empty, or names a build that is running or was killed."""
    try:
        holder_of(store)
    except CorpusError as error:
        yield Fault(LOCK_NAME, str(error))


def quotas_sound(
    path: str,
    recipe: Sequence[Source],
    sources: Sequence[str],
    found: Sequence[tuple[int, int]],
) -> Iterator[Fault]:
    """Check that a source keeps as many rows as its quota, and all rows if it has fewer.

    Args:
        path: of the side-cars of dedup.
        recipe: the sources of the recipe.
        sources: the source of each shard.
        found: how many rows dedup keeps of each shard, and how many it drops for the quota.
    """
    for source in recipe:
        rows = [counts for name, counts in zip(sources, found, strict=True) if name == source.name]
        kept, dropped = sum(kept for kept, _ in rows), sum(dropped for _, dropped in rows)
        said = f"{source.name}: keeps {kept:,} rows and drops {dropped:,} for its quota"
        if source.quota is None and dropped:
            yield Fault(path, f"{said}, and has none")
        elif source.quota and (kept > source.quota or (dropped and kept < source.quota)):
            yield Fault(path, f"{said} of {source.quota:,}")


def _is_duration(seconds: Any) -> bool:
    return type(seconds) in (int, float) and math.isfinite(seconds) and seconds >= 0
