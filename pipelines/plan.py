"""The plan: which part of which source becomes which shard, decided before any work."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache

from pipelines.readers.files import file_version
from pipelines.readers.listing import Reader, Unit
from pipelines.storage import CorpusError, Storage
from schemas.fingerprint import fingerprint
from schemas.recipe import Crawl, Recipe, Source

PLAN = "sources/plan.json"
PLAN_VERSION = 1  # raised when the code cuts sources differently


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
    if list(plan.items()) != list(before.items()):  # their order numbers the shards
        store.commit_bytes(PLAN, json.dumps(plan, indent=1).encode())
    return units


def read_plan(store: Storage) -> Sequence[Unit]:
    """Read the published plan; unit number n is shard number n.

    Costs one look at the file system, not a read, where the plan is the one read last.

    Raises:
        CorpusError: if there is none.
    """
    fs, path = store.locate(PLAN)
    try:
        return _read_plan(store.root, file_version(fs.info(path)))
    except FileNotFoundError as error:
        raise CorpusError(f"{store.root}: no {PLAN}; has a build been started here?") from error


@lru_cache(maxsize=4)
def _read_plan(root: str, version: str) -> tuple[Unit, ...]:
    plan = json.loads(Storage(root).read(PLAN))
    return tuple(Unit(**unit) for part in plan.values() for unit in part["units"])


def make_reader(source: Source, crawl: Crawl) -> Reader:
    """Return the reader of a source's kind."""
    from pipelines.fetch import FetchLimits
    from pipelines.readers.folders import FolderReader
    from pipelines.readers.hub import HubReader
    from pipelines.readers.lists import ListReader
    from pipelines.readers.tars import TarReader

    limits = FetchLimits(**crawl.model_dump())
    if source.kind == "list":
        return ListReader(source, limits)
    if source.kind == "folder":
        return FolderReader(source, crawl.max_bytes)
    if source.kind == "webdataset":
        return TarReader(source, crawl.max_bytes)
    return HubReader(source, limits)


def _plan_source(source: Source, recipe: Recipe, store: Storage, before: dict) -> dict:
    reader = make_reader(source, recipe.crawl)
    described = source.model_dump(mode="json")
    made_of = fingerprint(PLAN_VERSION, described, recipe.rows_per_shard, reader.version())
    known = before.get(source.name, {})
    if known.get("made_of") == made_of:
        return known
    units = reader.plan(recipe.rows_per_shard, store)
    return {"made_of": made_of, "units": [asdict(unit) for unit in units]}
