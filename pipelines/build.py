"""build: the whole story, stage by stage; what is committed and fresh is never made again."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial, reduce
from operator import add
from typing import Any

from pipelines.benchmarks import write_benchmarks
from pipelines.calibration import calibration_warnings
from pipelines.captions.bill import bill
from pipelines.check_recipe import pin, warnings
from pipelines.dedup.balance import PATH
from pipelines.engines.engine import Engine, shard_numbers
from pipelines.engines.profile import check_prefixes
from pipelines.out_folder import RECIPE, corpus_folder, refused_leaves_nothing
from pipelines.own_names import (
    BUILT,
    claim_plan,
    claimed_lists,
    claimed_members,
    every_sidecar,
    lists_of,
    member_key,
    old_cutoffs,
    old_outputs_of,
    open_claims,
    output_claims,
    surplus_files,
    written_folders,
)
from pipelines.report.build_log import REPORT, BuildLog, log_warnings, speed, waiting
from pipelines.report.funnel import in_words
from pipelines.runtime.chain import chain_name, in_jobs, run_empty, shards_to_do
from pipelines.runtime.claims import Claims, output_keys, sidecar_keys
from pipelines.runtime.console import CONSOLE
from pipelines.runtime.crash_isolation import forget_attempts
from pipelines.runtime.exchange import exchange_folder, partitions_for
from pipelines.runtime.failed_example import first_failed
from pipelines.runtime.ownership import stray_tars
from pipelines.runtime.progress import Work, progress
from pipelines.runtime.retry_failed import mark_shards, temporarily_failed
from pipelines.runtime.run_chain import ChainRun, TooManyFailedError, run_chain
from pipelines.runtime.sidecar import (
    Counts,
    Origin,
    each_shard,
    read_origin,
    read_origins,
    sidecar_path,
)
from pipelines.runtime.stage import MapStage
from pipelines.shards.held_out import PATH as HELD_OUT
from pipelines.shards.held_out import held_out_counts, is_drawn, write_if_none
from pipelines.shards.manifest import (
    ANSWERS,
    MANIFEST,
    funnel_line,
    further_lines,
    has_shards,
    inputs_fingerprint,
    make_manifest,
    manifest_bytes,
    read_manifest,
    written,
)
from pipelines.shards.write_shard import FOLDER, listing_path, output_name
from pipelines.sources.plan import accept_rows, claim, make_plan, passed_over, read_plan
from pipelines.splits.graph import Split
from pipelines.splits.tasks import SplitTasks
from pipelines.stage_table import JOBS, make_stages, retried_stages, sidecar_stages
from pipelines.stages.crawl import Crawl
from pipelines.stages.dedup import Dedup
from pipelines.stages.ingest import Ingest, fresh_rows
from pipelines.stages.report import Report
from pipelines.stages.shard import Shard, outputs_of
from schemas.recipe import Recipe
from schemas.recipe_file import dump_recipe
from schemas.store.lock import build_lock
from schemas.store.storage import CorpusError, Storage


def build(
    recipe: Recipe,
    out: str,
    engine: Engine,
    *,
    retry_failed: Collection[str] = (),
    allow_shrink: bool = False,
    until: str = "",
    force_unlock: bool = False,
) -> dict[str, Any]:
    """Build a corpus, or bring one up to date; return its manifest.

    Args:
        recipe: what to build.
        out: folder of the corpus, any fsspec URL.
        engine: where to run.
        retry_failed: stages, of `retried_stages()`, whose rows that failed temporarily are tried
            again.
        allow_shrink: whether sources may have lost any number of rows since the last build.
        until: last stage to run, '' for all. What is returned then is of a manifest what is known:
            funnel and passed_over.
        force_unlock: whether to break the lock of another build, which is dead.

    Raises:
        CorpusError: for what the user can mend: another build holds the folder, what lies there is
            not this corpus, a source is missing or lost rows, a file is damaged, a stage lost more
            rows than the recipe allows.
    """
    check_prefixes(engine.arguments, JOBS)
    recipe = pin(recipe)
    for line in warnings(recipe):
        CONSOLE.warning(line)
    store = corpus_folder(recipe, out)
    for line in (*calibration_warnings(recipe, store), *log_warnings(store)):
        CONSOLE.warning(line)
    lock = build_lock(store, force_unlock=force_unlock)
    with refused_leaves_nothing(store) as begun, lock, engine.started(store):
        claims = open_claims(store)
        claim(store)
        store.sweep(written_folders())
        units = make_plan(
            recipe,
            store,
            fresh_rows=partial(fresh_rows, recipe, store),
            allow_shrink=allow_shrink,
            check=partial(claim_plan, claims),
        )
        begun()
        store.commit_bytes(RECIPE, dump_recipe(recipe).encode())
        started = Build(
            recipe=recipe,
            store=store,
            engine=engine,
            shards=len(units),
            claims=claims,
            retry_failed=frozenset(retry_failed),
            allow_shrink=allow_shrink,
        )
        started.log.begin()
        started.run(until)
        store.sweep(written_folders())  # of workers that were killed, and replaced, on the way
        return started.manifest or started.so_far()


@dataclass(kw_only=True)
class Build:
    """One build under way."""

    recipe: Recipe
    store: Storage
    engine: Engine
    shards: int  # of side-cars
    claims: Claims
    retry_failed: frozenset[str] = frozenset()  # stages
    allow_shrink: bool = False
    funnel: list[tuple[str, Counts]] = field(default_factory=list)
    changed: bool = False  # whether any stage had work
    manifest: dict[str, Any] = field(default_factory=dict)  # once there is one

    @cached_property
    def log(self) -> BuildLog:
        """The log of this build."""
        return BuildLog(store=self.store, claims=self.claims, shards=self.shards)

    def run(self, until: str = "") -> None:
        """Run stage after stage, map stages that follow each other as one job.

        `until` names the last stage to run, '' for all.
        """
        stages = make_stages(self.recipe)
        names = [stage.name for stage in stages]
        stages = stages[: names.index(until) + 1] if until else stages
        for together in in_jobs(stages):
            chain = [stage for stage in together if isinstance(stage, MapStage)]
            [stage, *_] = together
            if chain:
                self.chain(chain)
            elif isinstance(stage, Dedup):
                self.dedup(stage)
            elif isinstance(stage, Shard):
                self.manifest = self.shard(stage)
            elif isinstance(stage, Report):
                self.report(stage)

    def so_far(self) -> dict[str, Any]:
        """Return of a manifest what is known before there is one."""
        return {
            "funnel": [funnel_line(stage, counts) for stage, counts in self.funnel],
            "passed_over": passed_over(self.store, self._origins("sources")),
        }

    def accept_rows(self) -> None:
        """Take the plan's rows once all are known; only then remove what it no longer has."""
        accept_rows(self.store, self._origins("sources"), allow_shrink=self.allow_shrink)
        self._remove(surplus_files(self.store, self.claims, self.shards))
        inputs = (*every_sidecar(0), *claimed_members(self.claims))
        gone = dict.fromkeys(old_cutoffs(self.claims), 0)
        self.claims.lower(dict.fromkeys(inputs, self.shards) | gone)

    def chain(self, stages: Sequence[MapStage]) -> None:
        """Run map stages that follow each other over the shards that are not fresh.

        Raises:
            CorpusError: if more rows of a stage failed than the recipe allows, or are going to.
        """
        for stage in stages:
            if stage.name in self.retry_failed:
                rows = mark_shards(self.store, stage.folder, range(self.shards))
                CONSOLE.info("%-10s %s failed rows to try again", stage.name, f"{rows:,}")
        members = {member_key(member) for stage in stages for member in stage.members}
        keys = [key for stage in stages for key in sidecar_keys(stage.folder, stage.name)]
        self.claims.take(dict.fromkeys([*keys, *sorted(members)], self.shards))
        started = time.monotonic()
        ran = self._run_chain(stages, shards_to_do(stages, self.store, self.shards))
        seconds = time.monotonic() - started
        job = {"job": chain_name(stages), "job_seconds": round(seconds, 3)}
        rows = 0  # of the last stage
        for stage in stages:
            if stage.is_isolated:  # of shards that were committed by workers that died of another
                forget_attempts(self.store, stage.name)
            origins = self._count(stage.name, stage.folder)
            if isinstance(stage, Ingest):
                self.accept_rows()
            elif isinstance(stage, Crawl):
                self._remove(stray_tars(self.store, origins))
            shards = ran.ran.get(stage.name, ())
            rows = sum(origins[shard].counts.rows_in for shard in shards)
            worked = ran.seconds.get(stage.name, 0.0)
            note, waits = " of work", {}
            if worked and stage.name in ran.waited:
                share = ran.waited[stage.name] / worked
                note, waits = note + waiting(share), {"waited": share}
            self.log.stage(stage.name, len(shards), worked, note, **job, **waits)
        if ran.ran and len(stages) > 1:
            CONSOLE.info("%-10s %.1f s%s", "together", seconds, speed(rows, seconds))
        if members:  # files of any other are gone
            self.claims.lower(dict.fromkeys(claimed_members(self.claims) - members, 0))

    def _run_chain(self, stages: Sequence[MapStage], todo: Mapping[int, int]) -> ChainRun:
        if not todo:
            return ChainRun()
        self.changed = True
        rows_of = stages[0].rows_of
        if rows_of and not _kept(read_origins(self.store, rows_of, todo)):
            return run_empty(stages, self.store, todo)
        allowed = {stage.name: self._allowed(stage.name) for stage in stages}
        sources = [unit.source for unit in read_plan(self.store)]
        try:
            return run_chain(
                stages, self.store, self.engine, todo, allowed=allowed, sources=sources
            )
        except TooManyFailedError as error:
            early = (
                ", and by the last shards more of all rows would fail: the job was stopped; "
                f"to go on, set max_failed_fraction.{error.stage} to 1"
            )
            raise self._too_many_failed(error.stage, error.counts, early) from None

    def dedup(self, stage: Dedup) -> None:
        """Run dedup over the whole corpus, unless every side-car of it is fresh."""
        inputs = {folder: self._origins(folder) for folder in stage.inputs}
        wanted = stage.fingerprint(inputs)
        found = each_shard(
            lambda shard: read_origin(self.store, sidecar_path(stage.folder, shard)),
            range(self.shards),
        )
        found += [read_origin(self.store, PATH)] if self.recipe.dedup.balance else []
        stale = any(origin is None or origin.fingerprint != wanted for origin in found)
        keys = sidecar_keys(stage.folder, stage.name)
        lists = lists_of(self.recipe)
        self.claims.take({**dict.fromkeys(keys, self.shards), **dict.fromkeys(lists, 1)})
        self.changed = write_benchmarks(self.recipe, self.store) or self.changed or stale
        with self.log.timed(stage.name, self.shards * stale):
            rows = _kept(inputs[stage.rows_of])
            if stale and not rows:
                write = stage.writer(self.store, wanted)
                write((0, {"shards": range(self.shards), "slices": ()}))
            elif stale:
                partitions = partitions_for(rows, self.shards)
                with exchange_folder(self.store):
                    self.engine.run(
                        lambda root: stage.expand(
                            self._all(root), self.store, wanted, partitions, rows
                        ),
                        name=stage.name,
                    )
        old = claimed_lists(self.claims) - {*lists}
        self._remove(sorted(old))
        self.claims.lower(dict.fromkeys(old, 0))
        self._count(stage.name, stage.folder)

    def shard(self, stage: Shard) -> dict[str, Any]:
        """Write the output shards and the manifest."""
        origins = {folder: self._origins(folder) for folder in sidecar_stages()}
        samples = _kept(origins[stage.rows_of])
        if not samples:  # the shards of an earlier build stay
            raise CorpusError(in_words(self.funnel))
        made_of = inputs_fingerprint(self.recipe, origins)
        share = self.recipe.shard.held_out
        singles = dict.fromkeys((MANIFEST, *[HELD_OUT] * bool(share)), 1)
        self.claims.check(singles)
        manifest = read_manifest(self.store)
        stale = manifest.get("inputs") != made_of or not has_shards(self.store, manifest)
        answers = bill(self.recipe.caption, origins["captions"])
        other_bill = not stale and manifest.get(ANSWERS, []) != answers
        self.changed = self.changed or stale or other_bill
        with self.log.timed(stage.name, self.shards * stale, samples * stale):
            if stale:
                if share:
                    self.hold_out(stage, made_of, samples)
                sources = [unit.source for unit in read_plan(self.store)]
                kept = [origin.counts.kept for origin in origins[stage.rows_of]]
                outputs = outputs_of(self.recipe, sources, kept, held_out_counts(self.store, share))
                singles |= {listing_path(of.subset.name): 1 for of in outputs}
                claimed = {key: of.outputs for of in outputs for key in output_keys(of.subset)}
                self.claims.take({**claimed, **singles})
                # Shards and manifest would disagree from here on, until the new one is written.
                self.store.remove(MANIFEST)
                names = [
                    f"{output_name(of.subset.name, number)}.parquet"
                    for of in outputs
                    for number in range(of.outputs)
                ]
                work = [Work(stage=stage.name, folder=FOLDER, files=names)]
                with progress(self.store, work), exchange_folder(self.store):
                    self.engine.run(
                        lambda root: stage.expand(root, self.store, outputs), name="shard"
                    )
                passed = passed_over(self.store, origins["sources"])
                manifest = make_manifest(
                    self.recipe,
                    self.store,
                    self.funnel,
                    made_of,
                    self.shards,
                    passed,
                    [of.subset for of in outputs],
                    further_lines(self.recipe, self.store, answers),
                )
                for subset in BUILT:
                    forget_attempts(self.store, subset.shard_stage)
                if not written(manifest).kept:
                    raise CorpusError(in_words([*self.funnel, ("shard", written(manifest))]))
                self._remove(old_outputs_of(self.store, self.claims, manifest))
                self.store.commit_bytes(MANIFEST, manifest_bytes(manifest))
                self.claims.lower(dict.fromkeys(output_claims(self.claims), 0) | claimed | singles)
            elif other_bill:  # of other prices, which decide no byte of the shards
                manifest = {**manifest, ANSWERS: answers}
                self.store.commit_bytes(MANIFEST, manifest_bytes(manifest))
        return manifest

    def hold_out(self, stage: Shard, made_of: str, samples: int) -> None:
        """Draw the held-out samples, unless that was done with the same side-cars."""
        self.claims.take({HELD_OUT: 1})
        if is_drawn(self.store, made_of):
            return
        tasks = SplitTasks.of(self.recipe, stage.rows_of, samples, self.shards)
        split = Split(store=self.store, tasks=tasks)
        with exchange_folder(self.store):
            self.engine.run(lambda root: split.expand(self._all(root), made_of), name="shard")
        write_if_none(self.store, made_of)

    def report(self, stage: Report) -> None:
        """Write `report.html`, unless nothing has changed since it was written."""
        stale = self.changed or not self.store.exists(REPORT)
        with self.log.timed(stage.name, self.shards * stale):
            if stale:
                self.claims.take({REPORT: 1})
                self.engine.run(
                    lambda root: stage.expand(self._all(root), self.store),
                    name="report",
                )
        forget_attempts(self.store, "report")

    def _remove(self, paths: Iterable[str]) -> None:
        for path in paths:
            CONSOLE.debug("removed %s, which an earlier build wrote", path)
            self.store.remove(path)

    def _count(self, stage: str, folder: str) -> list[Origin]:
        """Take a stage into the funnel; return the footers of its side-cars.

        Raises:
            CorpusError: if more of its rows failed than the recipe allows.
        """
        origins = self._origins(folder)
        counts = reduce(add, (origin.counts for origin in origins), Counts())
        self.funnel.append((stage, counts))
        if counts.failed_rows > self._allowed(stage) * counts.rows_in:
            raise self._too_many_failed(stage, counts)
        return origins

    def _allowed(self, stage: str) -> float:
        """Return the share of a stage's rows that may fail."""
        return getattr(self.recipe.max_failed_fraction, stage, 1.0)

    def _too_many_failed(self, stage: str, counts: Counts, early: str = "") -> CorpusError:
        """Say of what most rows of a stage died, and what to do."""
        worst = max(counts.failed, key=lambda error: counts.failed[error])
        first = first_failed(self.store, stage, worst, range(self.shards))
        again = ""
        if stage == Crawl.name and mark_shards(self.store, Crawl.folder, range(self.shards)):
            again = "; the next build tries those again that failed temporarily"
        elif stage in retried_stages() and temporarily_failed(counts.failed):
            again = f"; --retry-failed {stage} tries those again that failed temporarily"
        return CorpusError(
            f"{stage}: {counts.failed_rows:,} of {counts.rows_in:,} rows failed, most of them "
            f"{worst}{first}; max_failed_fraction.{stage} is {self._allowed(stage)}{early}{again}"
        )

    def _origins(self, folder: str) -> list[Origin]:
        return read_origins(self.store, folder, range(self.shards))

    def _all(self, root: Any) -> Any:
        return shard_numbers(root, range(self.shards))


def _kept(origins: Iterable[Origin]) -> int:
    return sum(origin.counts.kept for origin in origins)
