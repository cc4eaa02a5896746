"""The verify command: read every file of a corpus again and report each fault in one line.

Side-cars are checked shard by shard: against the recipe of the corpus, against each other, and,
where no pixels are needed, by running their stage again. Output shards are then compared with the
side-cars, byte by byte. Manifest, list of shards and report are made again and compared. So a
changed file is found even if every hash was rewritten with it. The listed rows (texts, licences,
URLs) and the fetched bytes are the inputs of all this: they are taken as given.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from pipelines import calibration
from pipelines.captions import answers
from pipelines.dedup.balance import PATH
from pipelines.dedup.benchmark_files import benchmark_path
from pipelines.engines.local_pool import default_processes, local_pool, run_each
from pipelines.out_folder import RECIPE
from pipelines.own_names import lists_of, written_folders
from pipelines.report.build_log import LOG, REPORT
from pipelines.report.summary import Summary, merge
from pipelines.runtime.claims import CLAIMS
from pipelines.runtime.sidecar import Origin
from pipelines.runtime.stage import SidecarStage
from pipelines.shards.held_out import PATH as HELD_OUT
from pipelines.shards.held_out import held_out_counts
from pipelines.shards.manifest import MANIFEST, check_contract
from pipelines.shards.write_shard import FOLDER, ShardFile, listing_path, output_name
from pipelines.sources.plan import PLAN, published_plan, read_plan
from pipelines.stage_table import make_stages, sidecar_stages
from pipelines.stages.dedup import Dedup
from pipelines.stages.shard import SubsetOutputs, outputs_of
from pipelines.tokens.tokenizers import describe_tokens
from pipelines.verify.dedup import duplicates_found_again
from pipelines.verify.faults import Fault, capped, guarded
from pipelines.verify.files import ALWAYS, Files, expect_outputs, find_files, read_footers
from pipelines.verify.held_out import held_out_sound
from pipelines.verify.lists import balance_sound, benchmark_sound
from pipelines.verify.look import Look
from pipelines.verify.manifest import (
    claims_sound,
    listing_sound,
    lock_sound,
    log_sound,
    manifest_again,
    manifest_sound,
    quotas_sound,
    recipe_sound,
    rows_sound,
    stated_bytes,
)
from pipelines.verify.plan import (
    folder_listing_sound,
    folder_listings,
    plan_sound,
    written_for_plan,
)
from pipelines.verify.report import report_sound
from pipelines.verify.shard import CheckShard
from pipelines.verify.sidecars import CheckSidecars, Findings
from pipelines.verify.unfinished import unfinished_build
from schemas.recipe import Recipe
from schemas.recipe_file import RecipeError, load_recipe
from schemas.store.errors import CorpusError, NotLookedError, SettingsError
from schemas.store.lock import LOCK_NAME
from schemas.store.regular_store import RegularStorage
from schemas.store.storage import Storage
from schemas.subsets import Subset, made_by

SMALL_BYTES = 64_000_000  # a corpus below this is read before workers have started

Origins = Mapping[str, Sequence[Origin | None]]


def verify(store: Storage, *, processes: int | None = 1, deep: bool = False) -> list[Fault]:
    """Check a whole corpus, or a folder of pairs; return its faults, none if it is sound.

    Every byte is read, most of them once. Temporary files take about 1 KB a sample.

    Args:
        store: the folder.
        processes: worker processes; 1 for none, None for a number that suits the corpus.
        deep: also decode, measure and encode every image again, and compare all rows for
            duplicates, as the build did.

    Raises:
        NotLookedError, StoreError: there is no finished build, or it cannot be read.
        SettingsError: `deep` is set for a folder of pairs.
    """
    checked = RegularStorage(store.root)
    files = _files(checked)
    check_contract(checked)
    is_pairs = _holds_pairs(checked, files)
    if is_pairs and deep:
        raise SettingsError(
            f"{store.root}: holds pairs, which --deep cannot check: the model that drew their "
            "images is not in the folder; verify without --deep, which reads every byte"
        )
    if processes is None:
        processes = 1 if files.bytes < SMALL_BYTES and not deep else default_processes()
    if store.root.startswith("memory://"):  # workers do not share it
        processes = 1
    scratch = tempfile.TemporaryDirectory(prefix="verify-")
    with scratch as exchange, local_pool(processes, preload=__name__):
        if is_pairs:
            # Imported here because it needs torch.
            from pipelines.verify.pairs import verify_pairs

            return capped(verify_pairs(checked, files))
        return capped(_or_unfinished(checked, _Verify(checked, files, exchange, deep).faults()))


def _or_unfinished(store: RegularStorage, faults: list[Fault]) -> list[Fault]:
    """Replace the faults of a half-finished build by one fault that says so.

    A corpus without faults is sound, even if the last build did not finish.
    """
    log_is_sound = all(fault.file != LOG for fault in faults)
    message = unfinished_build(store) if faults and log_is_sound else ""
    return [Fault(LOG, message)] if message else faults


def _files(store: RegularStorage) -> Files:
    """List the files of a corpus.

    Raises:
        NotLookedError: there is no finished build, or the folder cannot be read.
    """
    try:
        # Checked first, because this may be any folder.
        if not store.lies_there(MANIFEST):
            parts = [f"{store.root}: no {MANIFEST}", "no finished build lies here"]
            raise NotLookedError("; ".join(filter(None, [*parts, unfinished_build(store)])))
        return find_files(store)
    except OSError as error:
        raise NotLookedError(f"{store.root}: {error.strerror or error}") from error


def _holds_pairs(store: RegularStorage, files: Files) -> bool:
    """Return whether `preferences` wrote a folder, by its shards or its manifest."""
    if PLAN in files.found:
        return False
    names = [subset.name for subset in made_by("preferences")]
    starts = tuple(f"{FOLDER}/{name}" for name in names)
    if any(path.startswith(starts) for path in files.found):
        return True
    try:
        subsets = json.loads(store.read(MANIFEST))["subsets"]
        return any(name in subsets for name in names)
    except (CorpusError, OSError, ValueError, TypeError, LookupError, RecursionError):
        return False


class _Verify:
    """The checks of one corpus, in order; later checks run even if earlier ones find faults."""

    def __init__(self, store: RegularStorage, files: Files, exchange: str, deep: bool) -> None:
        self._store, self._files = store, files
        files.may_be_empty((*written_folders(), calibration.FOLDER, answers.FOLDER))
        files.required |= {*ALWAYS}
        files.allowed |= {LOCK_NAME, CLAIMS, *filter(calibration.is_own, files.found)}
        files.allowed |= {*filter(answers.is_own, files.found)}
        self._exchange, self._deep = exchange, deep
        self._manifest: Any = {}
        self._recipe: Recipe | None = None
        self._sources: tuple[str, ...] = ()  # name of the source of each shard

    def faults(self) -> list[Fault]:
        """Run every check; return the faults."""
        faults = self._check_file(MANIFEST, self._read_manifest)
        faults += self._check_file(RECIPE, self._read_recipe)
        recipe = self._recipe
        if recipe is None:  # no other file describes the corpus
            return [*self._files.faults(), *faults]
        faults += self._check_file(PLAN, self._read_plan, recipe)
        faults += self._check_file(LOG, log_sound, self._store)
        faults += self._check_file(LOCK_NAME, lock_sound, self._store)
        faults += self._check_file(CLAIMS, claims_sound, self._store)
        if not self._sources:
            return [*self._files.faults(), *faults]
        origins: dict[str, list[Origin | None]] = {}
        for folder, stage in sidecar_stages().items():
            origins[folder], footer_faults = read_footers(
                self._store, stage, len(self._sources), self._files
            )
            faults += footer_faults
        return faults + self._with_footers(recipe, origins)

    def _with_footers(self, recipe: Recipe, origins: Origins) -> list[Fault]:
        complete = {
            folder: [origin for origin in of_folder if origin is not None]
            for folder, of_folder in origins.items()
        }
        all_read = all(len(complete[folder]) == len(self._sources) for folder in sidecar_stages())
        faults: list[Fault] = []
        if all_read:
            faults += self._check_file(
                PLAN, rows_sound, self._store, self._sources, complete["sources"]
            )
        kept = [o.counts.kept if o else 0 for o in origins[[*sidecar_stages()][-1]]]
        share = recipe.shard.held_out
        self._files.required |= {HELD_OUT} if share else set()
        held_out: Counter[str] = Counter()
        if share:
            faults += self._check_file(HELD_OUT, self._count_held_out, held_out)
        outputs = outputs_of(recipe, self._sources, kept, held_out)
        for of in outputs:
            faults += expect_outputs(self._store, of.subset, of.outputs, self._files)
        self._files.required |= {*lists_of(recipe)}
        faults += self._files.faults()
        look = self._look(recipe, complete if all_read else {}, outputs)
        for benchmark in recipe.dedup.benchmarks:
            path = benchmark_path(benchmark.name)
            faults += self._check_file(path, benchmark_sound, look, benchmark)
        if recipe.dedup.balance:
            faults += self._check_file(PATH, balance_sound, look)
        if share and all_read:
            faults += self._check_file(HELD_OUT, held_out_sound, look, complete)
        found: list[Findings] = []
        summary = Summary()
        for one in run_each(CheckSidecars(corpus=look), range(len(self._sources))):
            summary = merge(summary, one.summary or Summary())
            found.append(replace(one, summary=None))
        faults += [fault for one in found for fault in one.faults]
        if not faults:
            kept = [(one.kept_rows, one.over_quota) for one in found]
            faults += guarded(
                Dedup.folder, quotas_sound, Dedup.folder, recipe.sources, self._sources, kept
            )
        if self._deep and all(one.samples_written for one in found):
            faults += guarded("duplicates", duplicates_found_again, look)
        return faults + self._with_samples(look, complete if all_read else {}, found, summary)

    def _with_samples(
        self,
        look: Look,
        origins: Mapping[str, Sequence[Origin]],
        found: Sequence[Findings],
        summary: Summary,
    ) -> list[Fault]:
        complete = all(one.samples_written for one in found)
        faults: list[Fault] = []
        files: dict[Subset, list[ShardFile]] = {}
        for of in look.outputs:
            check = CheckShard(corpus=look, subset=of.subset, complete=complete)
            lines = _lines(self._manifest, of.subset)
            numbered_lines = [
                (n, lines.get(f"{FOLDER}/{output_name(of.subset.name, n)}.tar", {}))
                for n in range(of.outputs)
            ]
            checked = list(run_each(check, numbered_lines))
            faults += [fault for shard_faults, _ in checked for fault in shard_faults]
            # Bytes and sha256 come from the manifest; `tar_sound` compares each tar with them.
            files[of.subset] = [
                file._replace(**stated_bytes(lines.get(file.path, {})))
                for _, file in checked
                if file.counts.rows_in  # a shard without samples has no file
            ]
        if origins and complete:
            faults += guarded(MANIFEST, self._whole_corpus_sound, look, origins, files, summary)
        return faults

    def _whole_corpus_sound(
        self,
        look: Look,
        origins: Mapping[str, Sequence[Origin]],
        files: Mapping[Subset, Sequence[ShardFile]],
        summary: Summary,
    ) -> list[Fault]:
        """Make the manifest, the list of shards and the report again, and compare them."""
        manifest = manifest_again(look, self._manifest, origins, files)
        return [
            *self._check_file(MANIFEST, manifest_sound, look.store, self._manifest, manifest),
            *(
                fault
                for subset, of_subset in files.items()
                for fault in self._check_file(
                    listing_path(subset.name), listing_sound, look.store, subset, of_subset
                )
            ),
            *self._check_file(REPORT, report_sound, look, manifest, summary),
        ]

    def _look(
        self,
        recipe: Recipe,
        origins: Mapping[str, Sequence[Origin]],
        outputs: tuple[SubsetOutputs, ...],
    ) -> Look:
        made = make_stages(recipe)
        stages = {stage.folder: stage for stage in made if isinstance(stage, SidecarStage)}
        [dedup] = (stage for stage in stages.values() if isinstance(stage, Dedup))
        made_with = self._manifest.get("made_with") if isinstance(self._manifest, dict) else None
        return Look(
            store=self._store,
            recipe=recipe,
            stages=stages,
            fingerprints={dedup.folder: dedup.fingerprint(origins)} if origins else {},
            tokens=tuple(describe_tokens(recipe.vq_tokens)),
            sources=self._sources,
            outputs=outputs,
            broken=frozenset(self._files.missing()),
            exchange=self._exchange,
            deep=self._deep,
            same_pillow=isinstance(made_with, dict)
            and made_with.get("pillow") == version("pillow"),
        )

    def _count_held_out(self, counts: "Counter[str]") -> list[Fault]:
        counts.update(held_out_counts(self._store, 1.0))
        return []

    def _check_file(self, path: str, check: Any, *given: Any) -> list[Fault]:
        """Run a check of a file if it is there as a regular file; otherwise `Files` reports it."""
        if self._files.found.get(path, "nothing"):
            return []
        return guarded(path, check, *given)

    def _read_manifest(self) -> list[Fault]:
        self._manifest = json.loads(self._store.read(MANIFEST))
        return []

    def _read_recipe(self) -> list[Fault]:
        self._store.read(RECIPE)
        try:
            self._recipe = load_recipe(
                self._store.fs.unstrip_protocol(self._store.locate(RECIPE)[1])
            )
        except RecipeError as error:
            return [Fault(RECIPE, line) for line in str(error).splitlines()]
        return [*recipe_sound(self._store, self._recipe)]

    def _read_plan(self, recipe: Recipe) -> Iterator[Fault]:
        yield from guarded(PLAN, plan_sound, self._store, recipe)
        # First, because the rest may fail: files of a damaged plan are not stray.
        written = written_for_plan(recipe, published_plan(self._store))
        self._files.required |= written
        units = read_plan(self._store)
        listings = {path: [] for path in written if path.startswith("sources/listing-")}
        for path, parts in (listings | folder_listings(recipe, units)).items():
            self._files.required.add(path)
            yield from self._check_file(path, folder_listing_sound, self._store, path, parts)
        sources = tuple(unit.source for unit in units)
        if {*sources} <= {source.name for source in recipe.sources}:
            self._sources = sources
        if not self._sources:
            yield Fault(PLAN, "names no unit of the recipe's sources")


def _lines(manifest: Any, subset: Subset) -> dict[str, Mapping[str, Any]]:
    """Map the path of each tar to its line in the manifest; empty if the manifest is damaged."""
    try:
        lines = manifest["subsets"][subset.name]["shards"]
        return {line["path"]: line for line in lines if isinstance(line, dict)}
    except (KeyError, TypeError):
        return {}
