"""Checks of the side-cars of one shard: made by this recipe, undamaged, and no row lost."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from pipelines.dedup.caps import QUOTA
from pipelines.report.summary import Summary, summarise_shard
from pipelines.runtime.sidecar import (
    dead_letters_path,
    read_rejects,
    read_table,
)
from pipelines.runtime.stage import MapStage, SidecarStage
from pipelines.verify.bytes import arrays_sound, fetched_bytes_sound
from pipelines.verify.counts import conserved, counted, made_by_recipe
from pipelines.verify.deep import edits_again, encoded_again, measured_again
from pipelines.verify.faults import Fault, capped, guarded
from pipelines.verify.look import (
    Look,
    ShardLook,
    SidecarLook,
    as_written,
    checked_origin,
    schema_faults,
)
from pipelines.verify.places import places_sound
from pipelines.verify.rows import (
    duplicates_sound,
    listed_rows_sound,
    measured_rows_sound,
    scored_rows_sound,
    token_rows_sound,
)
from pipelines.verify.samples import write_samples
from pipelines.verify.stages import made_again
from schemas.tables import DEAD_LETTERS, DUPLICATES


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The faults of one shard's side-cars, and the values that checks of the whole corpus need."""

    faults: list[Fault] = field(default_factory=list)
    kept_rows: int = 0  # rows that dedup kept
    over_quota: int = 0  # rows that it dropped for the quota of their source
    samples_written: bool = True  # in the exchange folder, for checks of the output shards
    summary: Summary | None = None  # for the report


class Check(NamedTuple):
    """A check, the side-cars that it needs, and the folder whose file gets its faults."""

    folder: str
    needs: tuple[str, ...]
    function: Callable[[ShardLook], Iterator[Fault]]


CHECKS = (
    Check("sources", ("sources",), listed_rows_sound),
    Check("raw", ("raw",), fetched_bytes_sound),
    Check("raw", ("sources", "raw"), places_sound),
    Check("signals", ("sources", "raw", "signals"), measured_rows_sound),
    Check("scores", ("sources", "raw", "signals", "scores"), scored_rows_sound),
    Check("duplicates", ("signals", "duplicates"), duplicates_sound),
    Check("tokens", ("raw", "signals", "tokens"), token_rows_sound),
    Check("tokens", ("tokens",), arrays_sound),
)
DEEP_CHECKS = (
    Check("raw", ("sources", "raw"), edits_again),
    Check("signals", ("sources", "raw", "signals"), measured_again),
    Check("tokens", ("raw", "tokens"), encoded_again),
)


@dataclass(frozen=True, kw_only=True)
class CheckSidecars:
    """Check every stage's side-car of one shard number."""

    corpus: Look

    def __call__(self, shard: int) -> Findings:
        """Return the faults of a shard, and write its samples for checks of the output shards."""
        look = ShardLook(corpus=self.corpus, shard=shard)
        faults: list[Fault] = []
        stages = self.corpus.stages
        for folder in stages:
            if (path := look.path(folder)) not in self.corpus.broken:
                faults += guarded(path, read_sidecar, look, folder)
                faults += guarded(path, made_by_recipe, look, folder)
                faults += guarded(path, counted, look, folder)
        for check in (*CHECKS, *_repeated(stages), *(DEEP_CHECKS if self.corpus.deep else ())):
            if look.tables.keys() >= {*check.needs}:
                faults += guarded(look.path(check.folder), check.function, look)
        for before, folder in pairwise(stages):
            if look.tables.keys() >= {before, folder} and look.letters.keys() >= {folder}:
                faults += guarded(look.path(folder), conserved, look, folder, before)
        whole = look.tables.keys() == stages.keys()
        not_written = guarded(look.path("tokens"), write_samples, look) if whole else []
        judged = look.tables.get("duplicates", DUPLICATES.empty_table())
        reasons = Counter(judged["reason"].to_pylist())
        return Findings(
            faults=capped([*faults, *not_written]),
            kept_rows=reasons[""],
            over_quota=reasons[QUOTA],
            samples_written=whole and not not_written,
            summary=_summary(look) if whole and not not_written else None,
        )


def read_sidecar(look: SidecarLook, folder: str) -> Iterator[Fault]:
    """Read a side-car and its dead letters into `look`, except tables of a wrong schema."""
    store, path = look.corpus.store, look.path(folder)
    yield from guarded(path, _read_footer, look, folder)
    stage = look.corpus.stages[folder]
    table, schema = read_table(store, path), stage.schema()
    if wrong := schema_faults(table, schema):
        yield from (Fault(path, what) for what in wrong)
        return
    look.tables[folder] = table
    yield from as_written(store, path, schema)
    if stage.judges:
        look.letters[folder] = DEAD_LETTERS.empty_table()
        return
    letters_path = dead_letters_path(look.corpus.stages[folder].name, look.shard)
    yield from guarded(letters_path, _read_letters, look, folder, letters_path)


def _read_footer(look: SidecarLook, folder: str) -> Iterator[Fault]:
    look.origins[folder] = checked_origin(look.corpus.store, look.path(folder))
    yield from ()


def _read_letters(look: SidecarLook, folder: str, path: str) -> Iterator[Fault]:
    if path in look.corpus.broken:
        return
    letters = read_rejects(look.corpus.store, look.corpus.stages[folder].name, look.shard)
    if wrong := schema_faults(letters, DEAD_LETTERS):
        yield from (Fault(path, what) for what in wrong)
        return
    look.letters[folder] = letters
    if look.corpus.store.exists(path):
        yield from as_written(look.corpus.store, path, DEAD_LETTERS)
    rows = letters.to_pylist()
    if any(row["stage"] != look.corpus.stages[folder].name for row in rows):
        yield Fault(path, "holds rows of another stage")
    order = [(row["id"], row["reason"]) for row in rows]
    if order != sorted(order):
        yield Fault(path, "rows are not in order")


def _repeated(stages: Mapping[str, SidecarStage]) -> Iterator[Check]:
    """Yield a check for each stage that can be run again from side-cars alone."""
    for folder, stage in stages.items():
        if isinstance(stage, MapStage) and stage.repeats:
            yield Check(folder, (*stage.inputs, folder), partial(made_again, folder=folder))


def _summary(look: ShardLook) -> Summary | None:
    try:
        return summarise_shard(look.shard, look.corpus.store, look.corpus.recipe)
    # Damaged side-cars, whose faults are reported already; the report is then not compared.
    except Exception:
        return None
