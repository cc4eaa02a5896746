"""Check the side-cars of one shard: made by this recipe, undamaged, and no row lost between."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pipelines.own_names import SIDECAR_FOLDERS
from pipelines.report.summary import Summary, summarise_shard
from pipelines.runtime.ownership import STAGE_OF
from pipelines.runtime.sidecar import (
    column,
    dead_letters_path,
    read_rejects,
    read_table,
)
from pipelines.stages.select import QUOTA
from pipelines.verify.bytes import arrays_sound, fetched_bytes_sound
from pipelines.verify.counts import conserved, counted, made_by_recipe
from pipelines.verify.deep import encoded_again, measured_again
from pipelines.verify.faults import Fault, capped, guarded
from pipelines.verify.look import (
    WITHOUT_LETTERS,
    Look,
    ShardLook,
    as_written,
    checked_origin,
    schema_faults,
    schema_of,
)
from pipelines.verify.places import places_sound
from pipelines.verify.rows import (
    duplicates_sound,
    listed_rows_sound,
    measured_rows_sound,
    token_rows_sound,
)
from pipelines.verify.samples import write_samples
from pipelines.verify.stages import made_again
from schemas.keys import rank
from schemas.tables import DEAD_LETTERS


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a check of one shard's side-cars found, and what it adds to checks of the whole."""

    faults: list[Fault] = field(default_factory=list)
    within: int = 0  # rows that select kept
    last: str = ""  # the highest rank of those, in the order of quotas
    told: bool = True  # the samples of this shard were written down for the output shards
    summary: Summary | None = None  # for the report


class Check(NamedTuple):
    """A check, the side-cars that it needs, and the folder whose file it speaks of."""

    folder: str
    needs: tuple[str, ...]
    function: Callable[[ShardLook], Iterator[Fault]]


CHECKS = (
    Check("sources", ("sources",), listed_rows_sound),
    Check("raw", ("raw",), fetched_bytes_sound),
    Check("raw", ("sources", "raw"), places_sound),
    Check("signals", ("sources", "raw", "signals"), measured_rows_sound),
    Check("duplicates", ("signals", "duplicates"), duplicates_sound),
    Check("tokens", ("raw", "signals", "tokens"), token_rows_sound),
    Check("tokens", ("tokens",), arrays_sound),
    *(
        Check(folder, needs, lambda look, folder=folder: made_again(look, folder))
        for folder, needs in (
            ("selection", ("signals", "duplicates", "selection")),
            ("captions", ("sources", "selection", "captions")),
            ("pairs", ("captions", "pairs")),
        )
    ),
)
DEEP_CHECKS = (
    Check("signals", ("sources", "raw", "signals"), measured_again),
    Check("tokens", ("raw", "tokens"), encoded_again),
)

# Folder -> the keys of the rows that its stage read.
ROWS_IN: Mapping[str, tuple[tuple[str, ...], Callable[[ShardLook], list[str]]]] = {
    "raw": (("sources",), lambda look: look.column("sources", "key")),
    "signals": (("raw",), lambda look: look.column("raw", "key")),
    "duplicates": (("signals",), lambda look: look.column("signals", "key")),
    "selection": (("duplicates",), lambda look: _unique(look)),
    "captions": (("selection",), lambda look: _selected(look)),
    "pairs": (("captions",), lambda look: look.column("captions", "key")),
    "tokens": (("pairs",), lambda look: look.column("pairs", "key")),
}


@dataclass(frozen=True, kw_only=True)
class CheckSidecars:
    """Check every stage's side-car of one shard number."""

    corpus: Look

    def __call__(self, shard: int) -> Findings:
        """Return what is wrong with a shard, and what the output shards must hold of it."""
        look = ShardLook(corpus=self.corpus, shard=shard)
        faults: list[Fault] = []
        for folder in SIDECAR_FOLDERS:
            if (path := look.path(folder)) not in self.corpus.broken:
                faults += guarded(path, _read, look, folder)
                faults += guarded(path, made_by_recipe, look, folder)
                faults += guarded(path, counted, look, folder)
        for check in (*CHECKS, *(DEEP_CHECKS if self.corpus.deep else ())):
            if look.tables.keys() >= {*check.needs}:
                faults += guarded(look.path(check.folder), check.function, look)
        for folder, (needs, rows_in) in ROWS_IN.items():
            if look.tables.keys() >= {*needs, folder} and look.letters.keys() >= {folder}:
                faults += guarded(look.path(folder), conserved, look, folder, rows_in)
        whole = look.tables.keys() == {*SIDECAR_FOLDERS}
        untold = guarded(look.path("tokens"), write_samples, look) if whole else []
        kept = _selected(look) if "selection" in look.tables else []
        return Findings(
            faults=capped([*faults, *untold]),
            within=len(kept),
            last=max((rank(key, QUOTA) for key in kept), default=""),
            told=whole and not untold,
            summary=_summary(look) if whole and not untold else None,
        )


def _read(look: ShardLook, folder: str) -> Iterator[Fault]:
    """Read a side-car and its dead letters; those that are not of their schema are left out."""
    store, path = look.corpus.store, look.path(folder)
    yield from guarded(path, _read_footer, look, folder)
    table, schema = read_table(store, path), schema_of(folder, look.corpus.recipe)
    if wrong := schema_faults(table, schema):
        yield from (Fault(path, what) for what in wrong)
        return
    look.tables[folder] = table
    yield from as_written(store, path, schema)
    if folder in WITHOUT_LETTERS:
        look.letters[folder] = DEAD_LETTERS.empty_table()
        return
    letters_path = dead_letters_path(STAGE_OF[folder], look.shard)
    yield from guarded(letters_path, _read_letters, look, folder, letters_path)


def _read_footer(look: ShardLook, folder: str) -> Iterator[Fault]:
    look.origins[folder] = checked_origin(look.corpus.store, look.path(folder))
    yield from ()


def _read_letters(look: ShardLook, folder: str, path: str) -> Iterator[Fault]:
    if path in look.corpus.broken:
        return
    letters = read_rejects(look.corpus.store, STAGE_OF[folder], look.shard)
    if wrong := schema_faults(letters, DEAD_LETTERS):
        yield from (Fault(path, what) for what in wrong)
        return
    look.letters[folder] = letters
    if look.corpus.store.exists(path):
        yield from as_written(look.corpus.store, path, DEAD_LETTERS)
    rows = letters.to_pylist()
    if any(row["stage"] != STAGE_OF[folder] for row in rows):
        yield Fault(path, "holds rows of another stage")
    order = [(row["id"], row["reason"]) for row in rows]
    if order != sorted(order):
        yield Fault(path, "rows are not in order")


def _unique(look: ShardLook) -> list[str]:
    table = look.tables["duplicates"]
    flags = zip(column(table, "key"), column(table, "reason"), strict=True)
    return [key for key, reason in flags if not reason]


def _selected(look: ShardLook) -> list[str]:
    table = look.tables["selection"]
    flags = zip(column(table, "key"), column(table, "kept"), strict=True)
    return [key for key, kept in flags if kept]


def _summary(look: ShardLook) -> Summary | None:
    try:
        return summarise_shard(look.shard, look.corpus.store, look.corpus.recipe)
    # Of side-cars whose faults are known; then there is no report to compare with.
    except Exception:
        return None
