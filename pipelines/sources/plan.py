"""The plan: which part of which source becomes which shard, decided before any work.

It is first drafted outside the corpus. It is published, with the files that readers wrote for it,
only if it may replace the previous plan.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from pipelines.runtime.ownership import own_sidecar
from pipelines.runtime.sidecar import Origin
from pipelines.sources.files import file_version
from pipelines.sources.listing import PassedOver, Reader, Unit
from pipelines.sources.readers import make_reader
from pipelines.sources.shrink import check_shrink
from pipelines.sources.unreadable import of_each
from schemas.fingerprint import fingerprint
from schemas.keys import shard_name
from schemas.recipe import Recipe
from schemas.source_config import Source
from schemas.store.retries import open_fs
from schemas.store.storage import CorpusError, Storage

PLAN = "sources/plan.json"
_BESIDE = re.compile(r"sources/[a-z]+-[\w.-]+")  # files that readers write beside the plan
PLAN_VERSION = 3  # increased when the code cuts sources differently


class _Part(BaseModel):
    """The part of a plan for one source."""

    model_config = ConfigDict(strict=True)

    units: list[Unit]
    made_of: str = ""
    rows: int | None = None
    files: list[str] = []
    passed_over: dict[str, int] = {}


_PARTS = TypeAdapter(dict[str, _Part])


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A plan that is not published yet."""

    parts: Mapping[str, dict[str, Any]]  # by source, as in the new plan
    before: Mapping[str, dict[str, Any]]  # by source, as in the published plan
    rows_before: Mapping[str, int]  # by source, as last accepted
    counted: Mapping[str, int]  # rows of sources that had to be read to count them

    @property
    def units(self) -> list[Unit]:
        """All units; number n becomes shard number n."""
        return list(_units(self.parts))

    def rows(self) -> dict[str, int | None]:
        """Return the number of rows of each source; None if unknown before reading."""
        return {
            name: self.counted.get(name, _known_rows(part)) for name, part in self.parts.items()
        }

    def new_files(self) -> dict[str, int]:
        """Return the claims for new files, which readers write and the previous plan lacks."""
        return {file: 1 for file in sorted(files_of(self.parts) - files_of(self.before))}

    def old_files(self) -> list[str]:
        """List the files that readers wrote for the previous plan and this plan does not need."""
        old = files_of(self.before) - files_of(self.parts)
        return sorted(file for file in old if _BESIDE.fullmatch(file))


def make_plan(
    recipe: Recipe,
    store: Storage,
    *,
    fresh_rows: Callable[[int], int | None] = lambda _: None,
    allow_shrink: bool = False,
    check: Callable[[Draft], None] = lambda _: None,
) -> list[Unit]:
    """Cut every source into units, in the recipe's order, and publish the plan.

    A source that has not changed since the last plan is not counted again.

    Args:
        recipe: names the sources.
        store: the corpus.
        fresh_rows: returns the rows that ingest read for a shard, None if it must read them again.
        allow_shrink: whether sources may have lost any number of rows.
        check: called before anything is published; may raise an error.

    Raises:
        UnreadableSourcesError: sources are missing or cannot be read; names all of them.
        CorpusError: the sources have no rows, or lost too many rows.
    """
    with store.scratch() as aside:
        draft = draft_plan(recipe, store, aside, fresh_rows)
        check_shrink(draft.rows_before, draft.rows(), allow=allow_shrink)
        check(draft)
        for part in draft.parts.values():
            for file in part["files"]:
                if (aside / file).exists():
                    store.commit_file(file, aside / file)
    if list(draft.parts.items()) != list(draft.before.items()):  # their order numbers the shards
        _publish(store, draft.parts)
    for file in draft.old_files():
        store.remove(file)
    return draft.units


def draft_plan(
    recipe: Recipe,
    store: Storage,
    aside: Path,
    fresh_rows: Callable[[int], int | None] = lambda _: None,
) -> Draft:
    """Cut every source into units; write nothing into the corpus.

    Args:
        recipe: names the sources.
        store: the corpus with the published plan.
        aside: local folder for the files that readers write.
        fresh_rows: returns the rows that ingest read for a shard, None if it must read them again.

    Raises:
        UnreadableSourcesError: sources are missing or cannot be read; names all of them.
        CorpusError: the sources have no rows.
    """
    before = published_plan(store)
    accepted = {name: _accepted_rows(store, before, name) for name in before}
    rows_before = {name: rows for name, rows in accepted.items() if rows is not None}
    readers = {source.name: make_reader(source, recipe.crawl) for source in recipe.sources}
    # The versions of all first: they are cheap, and find what is missing before rows are counted.
    versions = of_each(recipe.sources, lambda source: readers[source.name].version())

    def plan(source: Source) -> dict[str, Any]:
        known = before.get(source.name, {})
        made_of = _made_of(source, versions[source.name], recipe.rows_per_shard)
        if known.get("made_of") == made_of and all(map(store.exists, known.get("files", ()))):
            return {"passed_over": {}, "files": [], **known}
        part = _cut(readers[source.name], recipe.rows_per_shard, store, aside)
        return {"made_of": made_of, **part, "files": list(part["files"])}

    parts = of_each(recipe.sources, plan)
    for name, part in parts.items():
        known = _known_rows(part)
        part["rows"] = rows_before.get(name) if known is None else known
    draft = Draft(
        parts=parts,
        before=before,
        rows_before=rows_before,
        counted=_counted(recipe, parts, before, rows_before, fresh_rows),
    )
    if not draft.units:
        places = ", ".join(_places(recipe))
        raise CorpusError(f"recipe {recipe.name}: its sources hold no rows ({places})")
    return draft


def _places(recipe: Recipe) -> Iterator[str]:
    for source in recipe.sources:
        listed = source.list if source.kind == "folder" else ""
        yield f"source {source.name}: {listed or source.path}"


def accept_rows(store: Storage, ingested: Sequence[Origin], *, allow_shrink: bool = False) -> None:
    """Store the rows of each source, counted by ingest, for comparison with the next plan.

    Args:
        store: the corpus with the published plan.
        ingested: the footers of all side-cars of ingest, in order.
        allow_shrink: whether sources may have lost any number of rows.

    Raises:
        CorpusError: the sources lost too many rows.
    """
    parts = published_plan(store)
    read: Counter[str] = Counter()
    for unit, origin in zip(_units(parts), ingested, strict=True):
        read[unit.source] += origin.counts.rows_in
    before = {name: part["rows"] for name, part in parts.items() if part["rows"] is not None}
    now = {
        name: read[name] if _known_rows(part) is None else part["rows"]
        for name, part in parts.items()
    }
    check_shrink(before, now, allow=allow_shrink)
    if now != before:
        _publish(store, {name: {**part, "rows": now[name]} for name, part in parts.items()})


def plan_bytes(parts: Mapping[str, Any]) -> bytes:
    """Serialise a plan for the corpus."""
    return json.dumps(dict(parts), indent=1).encode()


def claim(store: Storage) -> None:
    """Publish an empty plan if there is none, as a mark that a build has started here."""
    if not store.exists(PLAN):
        _publish(store, {})


def read_plan(store: Storage) -> Sequence[Unit]:
    """Read the published plan; unit number n is shard number n.

    A repeated call costs one look-up in the file system, but no read.

    Raises:
        CorpusError: there is no plan.
    """
    fs, path = store.locate(PLAN)
    try:
        return _read_plan(fs.unstrip_protocol(path), file_version(fs.info(path)))
    except FileNotFoundError as error:
        raise CorpusError(f"{store.root}: no {PLAN}; has a build been started here?") from error


@lru_cache(maxsize=4)
def _read_plan(url: str, version: str) -> tuple[Unit, ...]:
    fs, path = open_fs(url)
    return tuple(_units(_parsed(fs.cat_file(path))))


def passed_over(store: Storage, ingested: Sequence[Origin]) -> dict[str, dict[str, int]]:
    """Return counts by source of the input that is no row, found by planning or ingest.

    Args:
        store: the corpus with the published plan.
        ingested: the footers of all side-cars of ingest, in order.
    """
    plan = published_plan(store)
    found = {name: Counter(part.get("passed_over", {})) for name, part in plan.items()}
    for unit, origin in zip(read_plan(store), ingested, strict=True):
        found[unit.source].update(origin.passed_over)
    return {name: dict(sorted(count.items())) for name, count in found.items() if count}


def _made_of(source: Source, version: str, rows_per_shard: int) -> str:
    """Hash what decides how a source is cut."""
    described = source.model_dump(mode="json", exclude={*source.OF_LATER_STAGES})
    return fingerprint(PLAN_VERSION, described, rows_per_shard, version)


def _cut(reader: Reader, rows_per_shard: int, store: Storage, aside: Path) -> dict[str, Any]:
    """Cut a source into units; files that its reader writes lie aside."""
    beside = Storage(str(aside))
    part = asdict(reader.plan(rows_per_shard, beside))
    for unit in part["units"]:  # files written aside are read from their final place
        unit["path"] = unit["path"].replace(_url(beside), _url(store), 1)
    return part


def _counted(
    recipe: Recipe,
    parts: Mapping[str, dict[str, Any]],
    before: Mapping[str, dict[str, Any]],
    rows_before: Mapping[str, int],
    fresh_rows: Callable[[int], int | None],
) -> dict[str, int]:
    """Count the rows of changed tars, to know the lost rows before anything is changed."""
    numbers = {unit: number for number, unit in enumerate(_units(before))}
    found: dict[str, int] = {}
    for source in recipe.sources:
        part = parts[source.name]
        changed = part["made_of"] != before.get(source.name, {}).get("made_of")
        if source.kind != "webdataset" or not changed or source.name not in rows_before:
            continue
        found[source.name] = 0
        for unit in _units({source.name: part}):
            number = numbers.get(unit)
            known = None if number is None else fresh_rows(number)
            if known is not None:
                found[source.name] += known
                continue
            rows = make_reader(source, recipe.crawl).rows(unit)
            found[source.name] += sum(not isinstance(row, PassedOver) for row in rows)
    return found


def files_beside(store: Storage) -> list[str]:
    """List the files with a name that readers use."""
    paths = [f"sources/{name}" for name in store.listing("sources")]
    return sorted(path for path in paths if _BESIDE.fullmatch(path))


def files_of(parts: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return the files that readers wrote into the corpus for a plan."""
    return {file for part in parts.values() for file in part.get("files", ())}


def published_plan(store: Storage) -> dict[str, dict[str, Any]]:
    """Read the published plan by source; {} if there is none.

    Raises:
        CorpusError: the plan is damaged.
    """
    if not store.exists(PLAN):
        return {}
    return _parsed(store.read(PLAN))


def _parsed(data: bytes) -> dict[str, dict[str, Any]]:
    try:
        _PARTS.validate_json(data)
        parts: Any = json.loads(data)
        list(_units(parts))  # refuses unknown fields
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        detail = f"{where}: {first['msg']}" if where else first["msg"]
        raise CorpusError(f"{PLAN}: damaged ({detail}); remove it and build again") from error
    except (ValueError, TypeError) as error:
        raise CorpusError(f"{PLAN}: damaged ({error}); remove it and build again") from error
    return parts


def _publish(store: Storage, parts: Mapping[str, Any]) -> None:
    store.commit_bytes(PLAN, plan_bytes(parts))


def _units(parts: Mapping[str, dict[str, Any]]) -> Iterator[Unit]:
    return (Unit(**unit) for part in parts.values() for unit in part["units"])


def _known_rows(part: Mapping[str, Any]) -> int | None:
    rows = [unit.get("rows") for unit in part["units"]]
    return None if None in rows else sum(rows)


def _accepted_rows(store: Storage, before: Mapping[str, Any], name: str) -> int | None:
    """Return the rows that a source had, as far as plan and side-cars tell."""
    part = before[name]
    if part.get("rows") is not None:
        return part["rows"]
    if (known := _known_rows(part)) is not None:
        return known
    names = [unit.source for unit in _units(before)]
    found = [
        own_sidecar(store, "sources", f"{shard_name(shard)}.parquet")
        for shard, source in enumerate(names)
        if source == name
    ]
    rows = [origin.counts.rows_in for origin in found if origin is not None]
    return sum(rows) if rows else None


def _url(store: Storage) -> str:
    return store.fs.unstrip_protocol(store.locate("")[1]).rstrip("/") + "/"
