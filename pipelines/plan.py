"""The plan: which part of which source becomes which shard, decided before any work."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache

from pipelines.fetch import FetchLimits
from pipelines.readers.folders import FolderReader
from pipelines.readers.hub import HubReader
from pipelines.readers.listing import Reader, Unit
from pipelines.readers.lists import ListReader, expand
from pipelines.readers.tars import TarReader
from pipelines.storage import CorpusError, Storage
from schemas.fingerprint import fingerprint
from schemas.recipe import Crawl, Recipe, Source

PLAN = "sources/plan.json"


def make_plan(recipe: Recipe, store: Storage) -> list[Unit]:
    """Cut every source into units, in the recipe's order, and publish the plan.

    A source that has not changed since the last plan is not counted again.

    Raises:
        CorpusError: if a source is missing, or holds no rows at all.
    """
    before = json.loads(store.read(PLAN)) if store.exists(PLAN) else {}
    plan = {source.name: _plan_source(source, recipe, store, before) for source in recipe.sources}
    units = [Unit(**unit) for part in plan.values() for unit in part["units"]]
    if not units:
        raise CorpusError(f"recipe {recipe.name}: its sources hold no rows")
    if plan != before:
        store.commit_bytes(PLAN, json.dumps(plan, indent=1, sort_keys=False).encode())
    return units


def read_plan(store: Storage) -> Sequence[Unit]:
    """Read the published plan; unit number n is shard number n.

    Raises:
        CorpusError: if there is none.
    """
    if not store.exists(PLAN):
        raise CorpusError(f"{store.root}: no {PLAN}; has a build been started here?")
    return _parse_plan(store.read(PLAN))


@lru_cache(maxsize=4)
def _parse_plan(data: bytes) -> tuple[Unit, ...]:
    return tuple(Unit(**unit) for part in json.loads(data).values() for unit in part["units"])


def make_reader(source: Source, crawl: Crawl) -> Reader:
    """Return the reader of a source's kind."""
    limits = FetchLimits(**crawl.model_dump())
    if source.kind == "list":
        return ListReader(source, limits)
    if source.kind == "folder":
        return FolderReader(source, crawl.max_bytes)
    if source.kind == "webdataset":
        return TarReader(source, crawl.max_bytes)
    return HubReader(source, limits)


def _plan_source(source: Source, recipe: Recipe, store: Storage, before: dict) -> dict:
    made_of = fingerprint(source.model_dump(mode="json"), recipe.rows_per_shard, _versions(source))
    known = before.get(source.name, {})
    if known.get("made_of") == made_of and not _must_list(source):
        return known
    units = make_reader(source, recipe.crawl).plan(recipe.rows_per_shard, store)
    return {"made_of": made_of, "units": [asdict(unit) for unit in units]}


def _must_list(source: Source) -> bool:
    """Whether only a new listing shows that the source has changed."""
    return source.kind == "folder" and not source.list


def _versions(source: Source) -> list[str]:
    """Return what tells versions of the source's files apart."""
    if source.kind == "huggingface" or _must_list(source):
        return []
    path = source.list if source.kind == "folder" else source.path
    return [f"{name} {fs.ukey(name)}" for fs, name in expand(path)]
