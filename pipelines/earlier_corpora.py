"""Earlier corpora whose samples dedup compares rows with: what they must hold, and their hashes."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from filters.scores.registry import columns_of
from pipelines.dedup.rows import EARLIER_ROWS_OF
from pipelines.report.build_log import LOG, unfinished
from pipelines.runtime.sidecar import read_schema, sidecar_path
from pipelines.shards.manifest import MANIFEST, check_contract
from pipelines.sources.plan import read_plan
from pipelines.stages.score import SCORER, Score
from schemas.recipe import DedupConfig, EarlierCorpus, Recipe
from schemas.recipe_file import RecipeError
from schemas.store.storage import CorpusError, Storage, absolute

AGAINST = "dedup.against"
READ = (EARLIER_ROWS_OF, "sources", "raw", "signals")  # folders of side-cars


def pinned_dedup(recipe: Recipe) -> DedupConfig:
    """Fill in names and hashes of earlier corpora, and check that they can be compared with.

    Raises:
        RecipeError: a corpus lacks values that are compared, or they are of another scorer.
        CorpusError: there is no finished build, or not the one that was pinned.
    """
    earlier = tuple(_pinned(each) for each in recipe.dedup.against)
    names = [each.name for each in earlier]
    shared = sorted({name for name in names if names.count(name) > 1})
    if shared:
        raise RecipeError(f"dedup.against: more than one corpus is named {', '.join(shared)}")
    faults = [
        fault
        for each in earlier
        for fault in comparison_faults(each.path, f"{AGAINST}: {each.path}", recipe)
    ]
    if faults:
        raise RecipeError("\n".join(faults))
    return recipe.dedup.model_copy(update={"against": earlier})


def _pinned(earlier: EarlierCorpus) -> EarlierCorpus:
    path = absolute(earlier.path)
    name, found = pinned_manifest(path, AGAINST)
    if earlier.manifest_sha256 not in ("", found):
        raise CorpusError(
            f"{AGAINST}: {path}/{MANIFEST}: sha256 is {found}, the recipe says "
            f"{earlier.manifest_sha256}"
        )
    return EarlierCorpus(path=path, name=name, manifest_sha256=found)


def pinned_manifest(path: str, where: str) -> tuple[str, str]:
    """Return the name of a finished build, and the sha256 of its manifest.

    Args:
        path: folder of the build.
        where: place in the recipe, for the message.

    Raises:
        CorpusError: there is no finished build.
    """
    store = Storage(path)
    if not store.exists(MANIFEST):
        raise CorpusError(f"{where}: {path}: no {MANIFEST}; no finished build lies there")
    check_contract(store)
    body = store.read(MANIFEST)
    try:
        name = str(json.loads(body)["name"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorpusError(f"{where}: {path}/{MANIFEST}: damaged: {error!r:.80}") from error
    return name, hashlib.sha256(body).hexdigest()


def comparison_faults(path: str, where: str, recipe: Recipe) -> Iterator[str]:
    """Yield what keeps a corpus from being compared with; `where` begins the lines.

    Raises:
        CorpusError: its last build did not finish, or files are missing or damaged.
    """
    store, config = Storage(path), recipe.dedup
    _check_finished(store, where)
    _check_sidecars(store, where, (*READ, *["scores"] * (config.semantic is not None)))
    measured = read_schema(store, sidecar_path("signals", 0))
    for name in ("phash", "colour_layout") if config.phash_distance is not None else ():
        if name not in measured.names:
            yield f"{where}: {name} is not measured there; set dedup.phash_distance to null"
    if config.semantic is None:
        return
    column = f"{config.semantic.scorer}_embedding"
    there = _scorer_of(read_schema(store, sidecar_path("scores", 0)), column)
    here = _scorer_of(Score.from_recipe(recipe, "signals").schema(), column)
    if there != here:
        said = (
            "not stored there"
            if there is None
            else f"of another scorer there: {_apart(there, here)}"
        )
        yield f"{where}: {column} is {said}; set dedup.semantic to null"


def _check_finished(store: Storage, where: str) -> None:
    """Refuse a corpus that a build is changing, or has left half changed."""
    try:
        message = unfinished(store) if store.exists(LOG) else ""
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise CorpusError(f"{where}: {LOG}: damaged: {error!r:.80}; build it again") from error
    if message:
        raise CorpusError(f"{where}: {message}; finish it first")


def _check_sidecars(store: Storage, where: str, folders: Sequence[str]) -> None:
    """Refuse a corpus that lacks side-cars of the shards that its plan has."""
    try:
        shards = range(len(read_plan(store)))
    except CorpusError as error:
        raise CorpusError(f"{where}: {error}") from error
    there = {f"{folder}/{name}" for folder in folders for name in store.listing(folder)}
    wanted = [sidecar_path(folder, shard) for folder in folders for shard in shards]
    if missing := [path for path in wanted if path not in there]:
        more = f" and {len(missing) - 1:,} more" if missing[1:] else ""
        raise CorpusError(f"{where}: {missing[0]}{more}: missing; build it again")


def _scorer_of(schema: pa.Schema, column: str) -> bytes | None:
    """Return the description of the scorer of a column, None without the column."""
    if column not in schema.names:
        return None
    metadata: Mapping[bytes, bytes] = schema.field(column).metadata or {}
    return metadata.get(SCORER)


def _apart(there: bytes, here: bytes | None) -> str:
    """Say in what two descriptions of scorers differ."""
    theirs, ours = json.loads(there), json.loads(here or b"{}")
    names = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
    return ", ".join(f"{n} {theirs.get(n)!r:.80}, here {ours.get(n)!r:.80}" for n in names)


def semantic_faults(recipe: Recipe) -> Iterator[str]:
    """Yield a line if the embeddings that dedup compares are not stored."""
    if (semantic := recipe.dedup.semantic) is None:
        return
    stored = [column.name for column in columns_of(recipe.score.scorers)]
    if f"{semantic.scorer}_embedding" not in stored:
        yield (
            f"dedup.semantic.scorer: no scorer {semantic.scorer!r} stores embeddings; add to "
            f"score.scorers: {{score: clip, name: {semantic.scorer}, embedding: true}}"
        )
