"""build --dry-run: what a build would do, stage by stage, and why; nothing is touched.

What a stage makes of changed input is not known before it has run, so work behind a stage that has
some is the most that there may be: rows that come out as before cost nothing further on.
"""

import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from pipelines.calibration import calibration_warnings
from pipelines.check_recipe import missing_files, pin, warnings
from pipelines.dedup.balance import PATH
from pipelines.missing_inputs import print_missing, rows_text
from pipelines.out_folder import RECIPE, corpus_folder
from pipelines.own_names import (
    every_sidecar,
    lists_of,
    member_key,
    open_claims,
    output_numbers,
    surplus_files,
    written_folders,
)
from pipelines.report.build_log import LOG, REPORT, log_warnings
from pipelines.runtime.claims import Claims
from pipelines.runtime.console import CONSOLE
from pipelines.runtime.counting import counted
from pipelines.runtime.ownership import old_outputs, stray_tars
from pipelines.runtime.retry_failed import MARK, temporarily_failed
from pipelines.runtime.sidecar import Origin, each_shard, read_origin, sidecar_path
from pipelines.runtime.stage import MapStage, Stage, is_whole, wanted_fingerprint
from pipelines.shards.held_out import PATH as HELD_OUT
from pipelines.shards.manifest import (
    MANIFEST,
    has_shards,
    inputs_fingerprint,
    read_manifest,
)
from pipelines.shards.write_shard import listing_path, output_name
from pipelines.sources.plan import PLAN, Draft, draft_plan, plan_bytes
from pipelines.sources.shard_subsets import subsets_of
from pipelines.sources.shrink import losses
from pipelines.sources.unreadable import UnreadableSourcesError
from pipelines.stage_table import STAGES, make_stages, sidecar_stages
from pipelines.stages.crawl import Crawl
from pipelines.stages.dedup import Dedup
from pipelines.stages.ingest import fresh_rows
from pipelines.stages.report import Report
from pipelines.stages.shard import Shard, outputs_of
from schemas.recipe import Recipe
from schemas.recipe_file import RecipeError, load_recipe
from schemas.store.retries import open_fs
from schemas.store.storage import CorpusError, Storage

SHOWN = 6  # keys in a line
MISSING, CHANGES, AGAIN = "missing", "its input changes", "failed rows are tried again"
FILE_MISSING = "a file of it is missing"


def dry_run(
    recipe: Recipe,
    out: str,
    *,
    retry_failed: Collection[str] = (),
    allow_shrink: bool = False,
    until: str = "",
) -> int:
    """Print what a build would do; return the exit code that it would have.

    Where files or sources are missing, print all of them instead; the code is 1.

    Raises:
        CorpusError: for what else a build would refuse, but for sources that lost rows.
    """
    if files := missing_files(recipe):
        print(f"{corpus_folder(recipe, out).root}: nothing is touched")
        print_missing(recipe, files, {})
        return 1
    recipe = pin(recipe)
    for line in warnings(recipe):
        CONSOLE.warning(line)
    store = corpus_folder(recipe, out)
    for line in (*calibration_warnings(recipe, store), *log_warnings(store)):
        CONSOLE.warning(line)
    with tempfile.TemporaryDirectory() as folder:
        claims = open_claims(store)
        try:
            draft = draft_plan(recipe, store, Path(folder), partial(fresh_rows, recipe, store))
        except UnreadableSourcesError as error:
            print(f"{store.root}: nothing is touched")
            print_missing(recipe, (), error.why)
            return 1
        reached = STAGES.index(until or STAGES[-1])
        listings = [listing_path(subset.name) for subset in subsets_of(recipe)]
        if recipe.shard.held_out:
            listings += [HELD_OUT, *(listing_path(s.held_out.name) for s in subsets_of(recipe))]
        singles = [
            *((MANIFEST, *listings) if reached >= STAGES.index("shard") else ()),
            *((REPORT,) if reached >= STAGES.index("report") else ()),
        ]
        claims.check(
            {
                **every_sidecar(len(draft.units)),
                **draft.new_files(),
                **dict.fromkeys((RECIPE, LOG, *singles, *lists_of(recipe)), 1),
            }
        )
        (Path(folder) / PLAN).parent.mkdir(exist_ok=True)
        (Path(folder) / PLAN).write_bytes(plan_bytes(draft.parts))
        ahead = Ahead(
            recipe=recipe,
            store=_Planned(store.root, folder),
            draft=draft,
            claims=claims,
            retry_failed=frozenset(retry_failed),
        )
        print(f"{store.root}: nothing is touched")
        for source, rows in draft.rows().items():
            print(f"source {source}: {rows_text(rows)}{_before(draft, source)}")
        said = losses(draft.rows_before, draft.rows())
        for line in said:
            print(f"{'allowed' if allow_shrink else 'would refuse'}: {line}")
        for stage in ahead.stages():
            print(stage)
            if stage.name == until:
                break
        left = [str(path) for path in store.leftovers(written_folders())]
        surplus = surplus_files(store, claims, len(draft.units))
        for path in (*draft.old_files(), *surplus, *ahead.old, *left):
            print(f"would remove {path}")
        for what in ahead.unknown:
            print(f"may remove {what}, once it is known what they hold")
    return 1 if said and not allow_shrink else 0


@dataclass(frozen=True)
class StageAhead:
    """What a stage has to do."""

    name: str
    _: KW_ONLY
    shards: int
    todo: int
    why: Mapping[str, int] = field(default_factory=dict)  # reason -> shards
    rows: int | None = None  # that wait in those, as far as is known

    def __str__(self) -> str:
        if not self.todo:
            return f"{self.name:<10} fresh, {counted(self.shards, 'shard')}"
        why = ", ".join(
            f"{reason} {n}" if len(self.why) > 1 else reason for reason, n in self.why.items()
        )
        rows = "" if self.rows is None else f", {counted(self.rows, 'row')}"
        return f"{self.name:<10} {self.todo} of {counted(self.shards, 'shard')} to do{rows}: {why}"


@dataclass(kw_only=True)
class Ahead:
    """The stages of a build that has not begun."""

    recipe: Recipe
    store: "_Planned"
    draft: Draft
    claims: Claims
    retry_failed: frozenset[str]
    old: list[str] = field(default_factory=list)  # files that would be removed
    unknown: list[str] = field(default_factory=list)  # what may be, too
    stale: dict[str, set[int]] = field(default_factory=dict)  # folder -> shards to do
    shards_stale: bool = False  # whether the output shards are to be written

    @property
    def shards(self) -> int:
        """The number of side-cars."""
        return len(self.draft.units)

    def stages(self) -> Iterator[StageAhead]:
        """Yield what each stage has to do, in their order."""
        before = {stage.name: stage for stage in make_stages(self._before)} if self._before else {}
        for stage in make_stages(self.recipe):
            old = before.get(stage.name)
            if isinstance(stage, MapStage):
                yield self._map(stage, old)
            elif isinstance(stage, Dedup):
                yield self._dedup(stage, old)
            elif isinstance(stage, Shard):
                yield self._shard(stage)
            elif isinstance(stage, Report):
                yield self._report()
            if isinstance(stage, Crawl) and not self.stale[stage.folder]:
                self.old += stray_tars(self.store, self._origins(stage.folder))

    def _report(self) -> StageAhead:
        missing = not self.store.exists(REPORT)
        todo = self.shards if missing or self.shards_stale or any(self.stale.values()) else 0
        why = MISSING if missing else CHANGES
        return StageAhead(Report.name, shards=self.shards, todo=todo, why={why: todo})

    @cached_property
    def _before(self) -> Recipe | None:
        """The recipe of the last build."""
        fs, path = self.store.locate(RECIPE)
        try:
            return load_recipe(fs.unstrip_protocol(path))
        except RecipeError:
            return None

    def _map(self, stage: MapStage, before: Stage | None) -> StageAhead:
        reasons = each_shard(lambda n: self._why(stage, before, n), range(self.shards))
        self.claims.check(dict.fromkeys(map(member_key, stage.members), self.shards))
        self.stale[stage.folder] = {n for n, reason in enumerate(reasons) if reason}
        why: dict[str, int] = {}
        for reason in filter(None, reasons):
            why[reason] = why.get(reason, 0) + 1
        return StageAhead(
            stage.name,
            shards=self.shards,
            todo=sum(why.values()),
            why=why,
            rows=self._waiting(stage),
        )

    def _why(self, stage: MapStage, before: Stage | None, shard: int) -> str:
        """Say why a shard is to be made; '' if it is fresh."""
        found = self._origin(stage.folder, shard)
        if any(shard in self.stale.get(folder, ()) for folder in stage.inputs):
            return CHANGES if found else MISSING
        if found is None:
            return MISSING
        wanted = wanted_fingerprint(stage, shard, self.store)
        made = found.fingerprint
        if (
            made == wanted
            and stage.name in self.retry_failed
            and temporarily_failed(found.counts.failed)
        ):
            return AGAIN
        if made == wanted:
            return "" if is_whole(stage, shard, found, self.store) else FILE_MISSING
        if made == f"{MARK}{wanted}":
            return AGAIN
        if isinstance(before, MapStage) and made == wanted_fingerprint(before, shard, self.store):
            return f"the recipe changed: {self._changed(stage)}"
        for version in range(stage.version):
            if made == wanted_fingerprint(stage, shard, self.store, version=version):
                return f"version {stage.version} of the stage, was {version}"
        return "its input changed"

    def _dedup(self, stage: Dedup, before: Stage | None) -> StageAhead:
        found = [self._origin(stage.folder, n) for n in range(self.shards)]
        found += [read_origin(self.store, path) for path in self._balance()]
        why = ""
        if None in found:
            why = MISSING
        elif any(self.stale.get(folder) for folder in stage.inputs):
            why = CHANGES
        else:
            inputs = {folder: self._origins(folder) for folder in stage.inputs}
            made = {origin.fingerprint for origin in found if origin}
            if made != {stage.fingerprint(inputs)}:
                of_recipe = isinstance(before, Dedup) and made == {before.fingerprint(inputs)}
                changed = f"the recipe changed: {self._changed(stage)}"
                why = changed if of_recipe else "its input changed"
        todo = self.shards if why else 0
        self.stale[stage.folder] = set(range(todo))
        rows = self._kept_by(stage.rows_of)
        return StageAhead(
            name=stage.name, shards=self.shards, todo=todo, why={why: todo}, rows=rows
        )

    def _balance(self) -> list[str]:
        return [PATH] if self.recipe.dedup.balance else []

    def _shard(self, stage: Shard) -> StageAhead:
        why = ""
        manifest = read_manifest(self.store)
        if not manifest:
            why = MISSING
        elif any(self.stale.values()):
            why = CHANGES
        else:
            origins = {folder: self._origins(folder) for folder in sidecar_stages()}
            if manifest.get("inputs") != inputs_fingerprint(self.recipe, origins):
                why = f"the recipe or the program changed: {self._changed(stage)}"
            elif not has_shards(self.store, manifest):
                why = MISSING
        todo = self.shards if why else 0
        rows = self._kept_by(stage.rows_of)
        self.shards_stale = bool(why)
        if why:
            self._old_outputs(stage, rows)
        return StageAhead(
            name=stage.name, shards=self.shards, todo=todo, why={why: todo}, rows=rows
        )

    def _old_outputs(self, stage: Shard, rows: int | None) -> None:
        """Note the output shards of the last build that so many samples would not fill."""
        before = output_numbers(self.claims)
        if rows is None or self.recipe.shard.held_out:  # how many are held out is not known
            for name, numbers in before.items():
                rest = [output_name(name, n) for n in numbers]
                self.unknown += [f"output shards {rest[0]} to {rest[-1]}"] if rest else []
            return
        counts = [self._kept(stage.rows_of, [shard]) for shard in range(self.shards)]
        sources = [unit.source for unit in self.draft.units]
        kept = {
            output_name(of.subset.name, n)
            for of in outputs_of(self.recipe, sources, counts)
            for n in range(of.outputs)
        }
        self.old += old_outputs(self.store, kept, before)

    def _waiting(self, stage: MapStage) -> int | None:
        todo = self.stale[stage.folder]
        if not stage.rows_of:
            rows = [self.draft.units[n].rows for n in todo]
            return None if None in rows else sum(filter(None, rows))
        return None if todo & self.stale[stage.rows_of] else self._kept(stage.rows_of, todo)

    def _kept_by(self, folder: str) -> int | None:
        return None if self.stale[folder] else self._kept(folder, range(self.shards))

    def _kept(self, folder: str, shards: Collection[int]) -> int:
        return sum(self._found(folder, shard).counts.kept for shard in shards)

    def _changed(self, stage: Stage) -> str:
        """Name the keys of the recipe that changed: those that decide the stage, if any do."""
        before = self._before
        if before is None:
            return "it cannot be compared"
        keys = list(_differing(before.model_dump(mode="json"), self.recipe.model_dump(mode="json")))
        mine = [key for key in keys if key.split(".")[0] in (stage.decides or (key,))] or keys
        return ", ".join([*mine[:SHOWN], *(["..."] if len(mine) > SHOWN else [])]) or "in no key"

    def _origin(self, folder: str, shard: int) -> Origin | None:
        return read_origin(self.store, sidecar_path(folder, shard))

    def _found(self, folder: str, shard: int) -> Origin:
        origin = self._origin(folder, shard)
        if origin is None:
            raise CorpusError(f"{sidecar_path(folder, shard)}: missing")
        return origin

    def _origins(self, folder: str) -> list[Origin]:
        return each_shard(lambda shard: self._found(folder, shard), range(self.shards))


class _Planned(Storage):
    """A corpus as it would be with another plan."""

    def __init__(self, root: str, aside: str) -> None:
        super().__init__(root)
        self._aside = aside

    def locate(self, path: str) -> tuple[Any, str]:
        """Return where a file lies, which for the plan is aside."""
        return open_fs(f"{self._aside}/{path}") if path == PLAN else super().locate(path)


def _differing(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """Yield what differs in two dumps of recipes, as `key before -> now`.

    >>> list(_differing({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}}))
    ['a.b 1 -> 3']
    >>> list(_differing({}, {"rule": {"min": 2, "forbid": False}}))
    ['rule.min None -> 2']
    """
    if isinstance(before, list) and isinstance(now, list):
        before, now = _numbered(before), _numbered(now)
    if isinstance(before, dict) or isinstance(now, dict):
        before, now = before or {}, now or {}
    if not (isinstance(before, dict) and isinstance(now, dict)):
        is_new_default = before is None and (now is False or now in ("", []))
        if before != now and not is_new_default:
            yield f"{path} {before!r:.40} -> {now!r:.40}"
        return
    for key in dict.fromkeys([*before, *now]):
        yield from _differing(before.get(key), now.get(key), f"{path}.{key}".lstrip("."))


def _numbered(items: list[Any]) -> dict[str, Any]:
    """Map items by their name, where they have one, else by number."""
    return {
        str(item["name"]) if isinstance(item, dict) and "name" in item else str(number): item
        for number, item in enumerate(items)
    }


def _before(draft: Draft, source: str) -> str:
    had = draft.rows_before.get(source)
    return "" if had is None or had == draft.rows()[source] else f", {had:,} before"
