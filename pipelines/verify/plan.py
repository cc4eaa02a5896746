"""Checks of the plan: all sources of the recipe, in whole units, and only files of readers."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipelines.sources.listing import Unit
from pipelines.sources.plan import PLAN, plan_bytes
from pipelines.verify.faults import Fault
from pipelines.verify.look import is_count
from schemas.recipe import Recipe
from schemas.source_config import Source
from schemas.store.storage import Storage

HEX = re.compile(r"[0-9a-f]{32}")
KEYS = {"made_of", "units", "passed_over", "files", "rows"}  # of the part of one source
_TEXTS = ("source", "path", "name", "version")


def plan_sound(store: Storage, recipe: Recipe) -> Iterator[Fault]:
    """Check that the plan has the sources of the recipe, in order, each with valid units.

    The fingerprint of a `sources` side-car covers its unit, so units are not compared here.
    """
    body = store.read(PLAN)
    plan = json.loads(body)
    if body != plan_bytes(plan):
        yield Fault(PLAN, "is not written as the build writes it")
    names = [source.name for source in recipe.sources]
    if list(plan) != names:
        yield Fault(PLAN, f"has sources {list(plan)}, the recipe has {names}")
    for source in recipe.sources:
        if source.name in plan:
            faults = _part_faults(source, plan[source.name])
            yield from (Fault(PLAN, f"{source.name}{what}") for what in faults)


def _part_faults(source: Source, part: Any) -> Iterator[str]:
    if not isinstance(part, dict) or part.keys() != KEYS:
        yield f": is {part!r:.100}, expected a mapping of {', '.join(sorted(KEYS))}"
        return
    if not isinstance(part["made_of"], str) or not HEX.fullmatch(part["made_of"]):
        yield f": made_of is {part['made_of']!r:.100}, expected 32 hex digits"
    passed_over = part["passed_over"]
    if not isinstance(passed_over, dict) or not all(map(is_count, passed_over.values())):
        yield f": passed_over is {passed_over!r:.100}, expected counts"
    if not isinstance(part["units"], list) or not isinstance(part["files"], list):
        yield ": units or files is not a list"
        return
    units = [unit for unit in part["units"] if not _unit_fault(source, unit)]
    for number, unit in enumerate(part["units"]):
        if what := _unit_fault(source, unit):
            yield f", unit {number}: {what}"
    valid = files_of_plan(source, part["files"])
    if valid != part["files"]:
        yield f": files is {part['files']!r:.200}, its reader can write only {valid}"
    elif len(units) == len(part["units"]):
        paths = {f"sources/{unit['path'].rpartition('/sources/')[2]}" for unit in units}
        if missing := files_of_plan(source, sorted(paths - {*valid})):
            yield f": its units lie in {missing[0]!r}, which is not in files"


def _unit_fault(source: Source, unit: Any) -> str:
    if not isinstance(unit, dict) or {*unit} != {*Unit.__dataclass_fields__}:
        return f"is {unit!r:.100}, not a unit"
    wrong = [name for name in _TEXTS if not isinstance(unit[name], str)]
    wrong += [name for name in ("start", "end", "first_row", "part") if not is_count(unit[name])]
    wrong += ["rows"] * (unit["rows"] is not None and not is_count(unit["rows"]))
    if wrong:
        return f"wrong type of {', '.join(wrong)}"
    if unit["source"] != source.name or unit["start"] > unit["end"]:
        return f"is not a part of its source: {unit}"
    return ""


def files_of_plan(source: Source, files: Iterable[Any]) -> list[str]:
    """Filter paths to the files that the reader of a source may write; drop repeats."""
    source = source.of if source.kind == "edits" else source
    name = re.escape(source.name)
    pattern = rf"sources/unpacked-{name}-[0-9a-f]{{16}}\.\w+"
    if source.kind == "folder" and not source.list:
        pattern = rf"sources/listing-{name}\.jsonl"
    found = (file for file in files if isinstance(file, str) and re.fullmatch(pattern, file))
    return list(dict.fromkeys(found))


def written_for_plan(recipe: Recipe, parts: Mapping[str, Any]) -> set[str]:
    """Return the files that readers wrote into the corpus for a plan."""
    return {
        file
        for source in recipe.sources
        for file in files_of_plan(source, parts.get(source.name, {}).get("files", ()))
    }


def folder_listings(recipe: Recipe, units: Iterable[Unit]) -> dict[str, list[Unit]]:
    """Map the path of each folder listing in the corpus to its units."""
    kinds = {
        each.name: each.of.kind if each.kind == "edits" else each.kind for each in recipe.sources
    }
    found: dict[str, dict[int, Unit]] = {}
    for unit in units:
        path = f"sources/{unit.name}"
        if kinds[unit.source] == "folder" and unit.path.endswith(f"/{path}"):
            # A folder and the edits of its images may share a listing.
            found.setdefault(path, {}).setdefault(unit.start, unit)
    return {path: list(each.values()) for path, each in found.items()}


def folder_listing_sound(store: Storage, path: str, units: Sequence[Unit]) -> Iterator[Fault]:
    """Check that the sha256 of each unit's bytes is its version, and that units fill the file."""
    body = store.read(path)
    at = 0
    for unit in units:
        digest = hashlib.sha256(body[unit.start : unit.end]).hexdigest()
        if unit.start != at or digest != unit.version:
            yield Fault(path, f"bytes {unit.start:,} to {unit.end:,} are not the unit of the plan")
        at = unit.end
    if at != len(body):
        yield Fault(path, "bytes after its last unit")
