"""build: the whole story, stage by stage; what is committed and fresh is never made again."""

import json
import math
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

from pipelines.attempts import forget_attempts
from pipelines.engine import Engine, shard_numbers
from pipelines.lock import build_lock
from pipelines.plan import make_plan
from pipelines.progress import progress
from pipelines.retry_dead import mark_shards
from pipelines.sidecar import (
    Counts,
    Origin,
    dead_letters_path,
    each_shard,
    read_origin,
    read_origins,
    remove_strays,
    remove_surplus,
    sidecar_path,
)
from pipelines.stage import MapStage, stale_shards
from pipelines.storage import CorpusError, Storage, absolute
from schemas.recipe import STAGES, Recipe
from schemas.recipe_file import dump_recipe

RECIPE = "recipe.yaml"
LOG = "build_log.jsonl"
SIDECAR_FOLDERS = (
    "sources",
    "raw",
    "signals",
    "duplicates",
    "selection",
    "captions",
    "pairs",
    "tokens",
)


def build(
    recipe: Recipe, out: str, engine: Engine, *, retry_dead: Collection[str] = ()
) -> dict[str, Any]:
    """Build a corpus, or bring one up to date; return its manifest.

    Args:
        recipe: what to build.
        out: folder of the corpus, any fsspec URL.
        engine: where to run.
        retry_dead: stages, of `pipelines.retry_dead.STAGES`, to try rows again of that died of
            what may pass.

    Raises:
        CorpusError: for what the user can mend: another build holds the folder, a source is
            missing, a file is damaged, a stage lost more rows than the recipe allows.
    """
    from pipelines.pins import pin
    from pipelines.stages import stages_after_dedup, stages_before_dedup

    recipe = pin(recipe)
    store = Storage(absolute(out))
    with build_lock(store), engine.started(store):
        store.sweep()
        store.commit_bytes(RECIPE, dump_recipe(recipe).encode())
        job = Job(
            recipe=recipe,
            store=store,
            engine=engine,
            shards=len(make_plan(recipe, store)),
            retry_dead=frozenset(retry_dead),
        )
        job.remove_surplus()
        for stage in stages_before_dedup(recipe):
            job.map(stage)
        job.dedup()
        for stage in stages_after_dedup(recipe, job.cutoffs()):
            job.map(stage)
        manifest = job.shard()
        job.report()
        store.sweep()  # of workers that were killed, and replaced, on the way
        return manifest


@dataclass(kw_only=True)
class Job:
    """One build under way."""

    recipe: Recipe
    store: Storage
    engine: Engine
    shards: int  # of side-cars
    retry_dead: frozenset[str] = frozenset()  # stages
    funnel: list[tuple[str, Counts]] = field(default_factory=list)
    changed: bool = False  # whether any stage had work

    def map(self, stage: MapStage) -> None:
        """Run a map stage over the shards that are not fresh, as one Beam job."""
        from pipelines.run_stage import run_stage
        from pipelines.stages import resource_hints

        if stage.name in self.retry_dead:
            rows = mark_shards(self.store, stage.folder, range(self.shards))
            print(f"{stage.name:<10} {rows:,} dead rows to try again", file=sys.stderr, flush=True)
        waiting = self._rows_waiting(stage, stale_shards(stage, self.store, self.shards))
        with self._timed(stage.name, len(waiting), sum(waiting.values())):
            hints = resource_hints(self.recipe, stage.name)
            run_stage(stage, self.store, self.engine, waiting, hints)
        remove_strays(self.store, stage.folder, self._count(stage.name, stage.folder))

    def dedup(self) -> None:
        """Run dedup over the whole corpus, unless every side-car of it is fresh."""
        from pipelines.dedup import ROWS_A_PARTITION, FindDuplicates
        from pipelines.exchange import exchange_folder
        from pipelines.stages import dedup_fingerprint

        stage = FindDuplicates(recipe=self.recipe.dedup)
        wanted = dedup_fingerprint(stage, {f: self._origins(f) for f in stage.inputs})
        found = each_shard(
            lambda shard: read_origin(self.store, sidecar_path(stage.folder, shard)),
            range(self.shards),
        )
        stale = any(origin is None or origin.fingerprint != wanted for origin in found)
        with self._timed(stage.name, self.shards * stale):
            if stale:
                rows = sum(origin.counts.kept for origin in self._origins("signals"))
                partitions = math.ceil(rows / ROWS_A_PARTITION) or 1
                with exchange_folder(self.store):
                    self.engine.run(
                        lambda root: stage.expand(self._all(root), self.store, wanted, partitions),
                        name=stage.name,
                    )
        self._count(stage.name, stage.folder)

    def cutoffs(self) -> dict[str, str]:
        """Return where in hash order each source's quota ends; {} where there is none."""
        from pipelines.quota import write_cutoffs
        from pipelines.stages import cutoffs_path, quotas

        limits = quotas(self.recipe)
        if not limits:
            return {}
        path = cutoffs_path(self.recipe, {f: self._origins(f) for f in ("signals", "duplicates")})
        if not self.store.exists(path):
            rules = self.recipe.select
            self.engine.run(
                lambda root: write_cutoffs(self._all(root), self.store, rules, limits, path),
                name="quota",
            )
        for name in self.store.listing("selection"):
            if name.startswith("quota-") and not path.endswith(name):  # of earlier rules
                self.store.remove(f"selection/{name}")
        return json.loads(self.store.read(path))

    def shard(self) -> dict[str, Any]:
        """Write the output shards and the manifest."""
        from pipelines.exchange import exchange_folder
        from pipelines.manifest import (
            MANIFEST,
            SUBSET,
            inputs_fingerprint,
            make_manifest,
            manifest_bytes,
            remove_old_shards,
        )
        from pipelines.shard import SAMPLES_A_TASK, WriteShards, output_shard_count
        from pipelines.write_shard import FOLDER, output_name

        origins = {folder: self._origins(folder) for folder in SIDECAR_FOLDERS}
        samples = sum(origin.counts.kept for origin in origins["tokens"])
        made_of = inputs_fingerprint(self.recipe, origins)
        manifest = _read_json(self.store, MANIFEST)
        stale = manifest.get("inputs") != made_of or not self._has_shards(manifest)
        with self._timed("shard", self.shards * stale, samples * stale):
            if stale:
                # Shards and manifest would disagree from here on, until the new one is written.
                self.store.remove(MANIFEST)
                writer = WriteShards(recipe=self.recipe)
                outputs = output_shard_count(samples, self.recipe.shard.samples)
                names = [f"{output_name(SUBSET, number)}.parquet" for number in range(outputs)]
                todo = dict.fromkeys(names, samples // outputs)
                groups = math.ceil(samples / SAMPLES_A_TASK) or 1
                with progress(self.store, "shard", FOLDER, todo), exchange_folder(self.store):
                    self.engine.run(
                        lambda root: writer.expand(self._all(root), self.store, outputs, groups),
                        name="shard",
                    )
                manifest = make_manifest(self.recipe, self.store, self.funnel, made_of, self.shards)
                remove_old_shards(self.store, manifest)
                forget_attempts(self.store, "shard")
                if not manifest["subsets"][SUBSET]["samples"]:
                    doors = "; ".join(f"{stage} {counts}" for stage, counts in self.funnel)
                    raise CorpusError(f"no sample is left: {doors}")
                self.store.commit_bytes(MANIFEST, manifest_bytes(manifest))
        return manifest

    def _has_shards(self, manifest: dict[str, Any]) -> bool:
        """Whether the files that a manifest lists are there; `verify` reads them."""
        listed = [shard["path"] for s in manifest["subsets"].values() for shard in s["shards"]]
        return set(listed) <= {f"shards/{name}" for name in self.store.listing("shards")}

    def report(self) -> None:
        """Write `report.html`, unless nothing has changed since it was written."""
        from pipelines.report import REPORT, summarise

        stale = self.changed or not self.store.exists(REPORT)
        with self._timed("report", self.shards * stale):
            if stale:
                self.engine.run(
                    lambda root: summarise(self._all(root), self.store, self.recipe, REPORT),
                    name="report",
                )
        forget_attempts(self.store, "report")

    def remove_surplus(self) -> None:
        """Remove side-cars of shards that the plan no longer has."""
        # Those of `shard` are numbered as the output shards are.
        dead_letters = [f"dead_letters/{stage}" for stage in STAGES if stage != "shard"]
        remove_surplus(self.store, (*SIDECAR_FOLDERS, *dead_letters), self.shards)

    def _count(self, stage: str, folder: str) -> list[Origin]:
        """Take a stage into the funnel; return the footers of its side-cars.

        Raises:
            CorpusError: if more of its rows are dead than the recipe allows.
        """
        origins = self._origins(folder)
        counts = reduce(add, (origin.counts for origin in origins), Counts())
        self.funnel.append((stage, counts))
        dead = sum(counts.dead.values())
        allowed = getattr(self.recipe.max_dead_fraction, stage, 1.0)
        if dead > allowed * counts.rows_in:
            worst = max(counts.dead, key=lambda error: counts.dead[error])
            again = ""
            if stage == "crawl" and mark_shards(self.store, folder, range(self.shards)):
                again = "; the next build tries those again that died of what may pass"
            raise CorpusError(
                f"{stage}: {dead:,} of {counts.rows_in:,} rows are dead, most of them {worst}; "
                f"max_dead_fraction.{stage} is {allowed}; see {dead_letters_path(stage, 0)} ff."
                f"{again}"
            )
        return origins

    def _origins(self, folder: str) -> list[Origin]:
        return read_origins(self.store, folder, range(self.shards))

    def _rows_waiting(self, stage: MapStage, todo: Sequence[int]) -> dict[int, int]:
        """Map each shard to do to the rows that wait in it; ingest knows none beforehand."""
        rows = [0] * self.shards
        if stage.inputs and todo:
            rows = [origin.counts.kept for origin in self._origins(stage.inputs[-1])]
        return {shard: rows[shard] for shard in todo}

    def _all(self, root: Any) -> Any:
        return shard_numbers(root, range(self.shards))

    @contextmanager
    def _timed(self, stage: str, todo: int, rows: int = 0) -> Iterator[None]:
        started = time.monotonic()
        self.changed = self.changed or todo > 0
        yield
        seconds = time.monotonic() - started
        fresh = self.shards - todo
        note = f", {fresh} fresh" if fresh else ""
        speed = f", {rows / seconds:,.0f} img/s" if rows else ""
        line = f"{stage:<10} {todo} of {self.shards} shards{note}, {seconds:.1f} s{speed}"
        print(line, file=sys.stderr, flush=True)
        self._log({"stage": stage, "seconds": seconds, "shards_run": todo, "shards_fresh": fresh})

    def _log(self, line: dict[str, Any]) -> None:
        before = self.store.read(LOG) if self.store.exists(LOG) else b""
        self.store.commit_bytes(LOG, before + json.dumps(line).encode() + b"\n")


def _read_json(store: Storage, path: str) -> dict[str, Any]:
    return json.loads(store.read(path)) if store.exists(path) else {}
