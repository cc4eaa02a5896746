"""What a map stage is, and how one shard of it is run: skip if fresh, else process and commit."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import pyarrow as pa

from pipelines.runtime.crash_isolation import attempt
from pipelines.runtime.ownership import files_named, tar_mark
from pipelines.runtime.sidecar import (
    Counts,
    Origin,
    Reject,
    Used,
    count,
    dead_letters_path,
    kept_keys,
    kept_rows,
    make_origin,
    read_origin,
    read_table,
    rows_with,
    sidecar_path,
    write_dead_letters,
    write_sidecar,
)
from schemas.fingerprint import fingerprint
from schemas.recipe import Recipe
from schemas.sections import Gpu
from schemas.store.storage import CorpusError, Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardResult:
    """What a stage made of one shard, before anything is published."""

    table: pa.Table  # the side-car
    rows_in: int
    rejects: Sequence[Reject] = ()
    kept: int | None = None  # where the side-car also holds rows that were dropped
    dropped: Mapping[str, int] = field(default_factory=dict)  # those rows, by reason
    files: Mapping[str, Path] = field(default_factory=dict)  # path in the corpus -> finished file
    named_by_content: bool = False  # those paths, so that none ever holds other bytes
    passed_over: Mapping[str, int] = field(default_factory=dict)  # no rows: what it is -> how many
    waited: float | None = (
        None  # share of the time that the device waited for prepared images, 0..1
    )
    used: Mapping[str, Used] = field(default_factory=dict)  # see Origin
    base: str = ""  # see Origin

    def counts(self) -> Counts:
        """Count the outcomes; rows_in is what the stage read, not the sum of the outcomes."""
        kept = self.table.num_rows if self.kept is None else self.kept
        return count(self.rows_in, kept, self.rejects) + Counts(dropped=self.dropped)


@dataclass(frozen=True, kw_only=True)
class Stage(ABC):
    """A step of a build; its class holds all facts about it but its place in the order.

    It is named as its file is. Its class is frozen and picklable, and knows nothing of Beam.
    """

    name: ClassVar[str]
    decides: ClassVar[tuple[str, ...]] = ()  # keys of the recipe that decide its output

    def __init_subclass__(cls) -> None:
        if "name" not in cls.__dict__:
            cls.name = cls.__module__.rpartition(".")[2]

    @classmethod
    def from_recipe(cls, recipe: Recipe, rows_of: str) -> Self:
        """Return the stage of a build as a recipe has it, after the stage of a folder."""
        raise NotImplementedError(f"{cls.__name__} is no stage of a build")


@dataclass(frozen=True, kw_only=True)
class SidecarStage(Stage):
    """A stage that writes a side-car for each shard."""

    folder: ClassVar[str]  # of its side-cars
    reads: ClassVar[tuple[str, ...]] = ()  # folders whose side-cars of the same number it reads
    version: ClassVar[int] = 1  # raised when the code's output changes
    judges: ClassVar[bool] = False  # whether its side-car also holds rows that go, with the reason
    row_key: ClassVar[tuple[str, ...]] = ("key",)  # columns that its rows are in the order of

    rows_of: str = ""  # folder of the stage before: what that kept are the rows of this one

    @property
    def inputs(self) -> tuple[str, ...]:
        """Name the folders that its output depends on."""
        return tuple(dict.fromkeys((*self.reads, *filter(None, [self.rows_of]))))

    def contents(self, origins: Mapping[str, Sequence[Origin]]) -> dict[str, list[str]]:
        """Return the digests of its inputs in all shards, by folder.

        Of the stage before it may only take which rows there are: what else changes is the same.
        """
        keys_only = {self.rows_of} - {*self.reads}
        return {
            folder: [o.keys if folder in keys_only else o.content for o in origins[folder]]
            for folder in self.inputs
        }

    @abstractmethod
    def schema(self) -> pa.Schema:
        """Return the schema of the side-cars."""


@dataclass(frozen=True, kw_only=True)
class MapStage(SidecarStage):
    """Turns a shard into a side-car."""

    decodes: ClassVar[bool] = False  # whether it decodes images, which can kill its worker
    retries: ClassVar[bool] = False  # whether rows that fail may succeed another time
    repeats: ClassVar[bool] = False  # whether side-cars alone tell what it makes of them, at once

    @abstractmethod
    def settings(self, shard: int, store: Storage) -> Any:
        """Return the part of the recipe (JSON values) that decides this shard's output."""

    @abstractmethod
    def process(self, shard: int, store: Storage, scratch: Path) -> ShardResult:
        """Make the side-car; files built in `scratch` are published before it."""

    @property
    def members(self) -> tuple[str, ...]:
        """Name the members of samples that it makes an array file a shard for."""
        return ()

    @property
    def is_isolated(self) -> bool:
        """Whether its work may kill its worker, and is then done again in a child process."""
        return self.decodes

    @property
    def gpu(self) -> Gpu | None:
        """The GPUs that it asks of a worker; it then runs in one process a GPU."""
        return None

    def without_work(self) -> Self:
        """Return the stage as `verify` runs it again, where it asks others for what it makes."""
        return self

    def hints(self) -> dict[str, str]:
        """Return what it asks of its workers, as Beam's resource hints."""
        return self.gpu.hints() if self.gpu else {}

    def rows(self, folder: str, shard: int, store: Storage) -> pa.Table:
        """Read a side-car, as far as its rows are this stage's."""
        table = read_table(store, sidecar_path(folder, shard))
        if folder == self.rows_of:
            return kept_rows(table)
        return rows_with(table, kept_keys(store, self.rows_of, shard))


class ShardReport(NamedTuple):
    """What came of one shard of a stage in one run; small enough for any shuffle."""

    stage: str
    shard: int
    skipped: bool  # it was fresh
    rows_in: int
    kept: int
    dropped: dict[str, int]
    failed: dict[str, int]
    seconds: float
    file_bytes: int  # published
    waited: float | None = None  # share of the seconds that the device waited for prepared images


def wanted_fingerprint(
    stage: MapStage, shard: int, store: Storage, *, version: int | None = None
) -> str:
    """Return the fingerprint that a fresh side-car of this stage and shard carries.

    Args:
        stage: as the recipe has it.
        shard: number of the shard.
        store: the corpus.
        version: of the stage's code, for what an earlier one would have made; None for today's.

    Raises:
        CorpusError: if an input side-car is missing.
    """
    origins: dict[str, list[Origin]] = {}
    for folder in stage.inputs:
        path = sidecar_path(folder, shard)
        origin = read_origin(store, path)
        if origin is None:
            raise CorpusError(f"{path}: missing; {stage.name} needs it, run the build again")
        origins[folder] = [origin]
    contents = stage.contents(origins)
    version = stage.version if version is None else version
    return fingerprint(stage.name, version, stage.settings(shard, store), contents)


def is_fresh(stage: MapStage, shard: int, store: Storage) -> bool:
    """Whether the committed side-car is what the recipe and its inputs would make again."""
    origin = read_origin(store, sidecar_path(stage.folder, shard))
    if origin is None:
        return False
    return _is_current(stage, shard, origin, store, wanted_fingerprint(stage, shard, store))


def is_whole(stage: MapStage, shard: int, origin: Origin, store: Storage) -> bool:
    """Whether the files that a side-car names, and its dead letters, are all there."""
    counts = origin.counts
    files = list(origin.files)
    if counts.failed_rows or (any(counts.dropped.values()) and not stage.judges):
        files.append(dead_letters_path(stage.name, shard))
    return all(map(store.exists, files))


def run_shard(stage: MapStage, shard: int, store: Storage) -> ShardReport:
    """Make and publish one side-car, unless a fresh one is there.

    Raises:
        CorpusError: if an input is missing or damaged.
        AssertionError: if a row left the stage with no outcome or with two: a bug of the stage.
    """
    started = time.monotonic()
    path = sidecar_path(stage.folder, shard)
    wanted = wanted_fingerprint(stage, shard, store)
    found = read_origin(store, path)
    if found is not None and _is_current(stage, shard, found, store, wanted):
        return _report(stage, shard, found.counts, skipped=True)
    attempted = attempt(store, stage.name, shard, decodes=stage.is_isolated)
    with attempted as call, store.scratch() as scratch:
        outcome = call(stage.process, shard, store, scratch)
        counts = outcome.counts()
        if not counts.conserved:
            raise AssertionError(f"{stage.name} lost rows of shard {shard}: {counts}")
        size = sum(local.stat().st_size for local in outcome.files.values())
        if outcome.named_by_content:
            for file in outcome.files:
                store.commit_bytes(tar_mark(stage.name, file), b"")
            _publish(store, outcome.files)
        # Another attempt at the shard may have been faster, and have fetched other bytes.
        found = read_origin(store, path)
        if found is not None and _is_current(stage, shard, found, store, wanted):
            if outcome.named_by_content:
                _remove_unnamed(store, set(outcome.files) - set(found.files))
                _remove_unnamed(store, (tar_mark(stage.name, file) for file in outcome.files))
            return _report(stage, shard, found.counts, skipped=True)
        old = set(files_named(found, stage.folder, shard)) if found else set[str]()
        if not outcome.named_by_content and (old or outcome.files):
            # First, while a side-car names them; and then that, or, killed before its successor
            # is there, a later build would find the old side-car of new files.
            _remove_unnamed(store, old - set(outcome.files))
            store.remove(path)
            _publish(store, outcome.files)
        write_dead_letters(store, stage.name, shard, outcome.rejects)
        origin = make_origin(
            stage.name,
            wanted,
            outcome.table,
            counts,
            files=outcome.files,
            passed_over=outcome.passed_over,
            used=outcome.used,
            base=outcome.base,
        )
        write_sidecar(store, path, outcome.table, origin)
        if outcome.named_by_content:
            _remove_unnamed(store, old - set(outcome.files))
            _remove_unnamed(store, (tar_mark(stage.name, file) for file in outcome.files))
    seconds = time.monotonic() - started
    report = _report(stage, shard, counts, seconds=seconds, file_bytes=size)
    return report._replace(waited=outcome.waited)


def _is_current(stage: MapStage, shard: int, origin: Origin, store: Storage, wanted: str) -> bool:
    """Whether a side-car has the wanted fingerprint and all its files."""
    return origin.fingerprint == wanted and is_whole(stage, shard, origin, store)


def _remove_unnamed(store: Storage, files: Iterable[str]) -> None:
    for file in sorted(files):
        store.remove(file)


def _publish(store: Storage, files: Mapping[str, Path]) -> None:
    for final, local in files.items():
        store.commit_file(final, local)


def _report(
    stage: MapStage,
    shard: int,
    counts: Counts,
    *,
    skipped: bool = False,
    seconds: float = 0.0,
    file_bytes: int = 0,
) -> ShardReport:
    return ShardReport(
        stage=stage.name,
        shard=shard,
        skipped=skipped,
        rows_in=counts.rows_in,
        kept=counts.kept,
        dropped=dict(counts.dropped),
        failed=dict(counts.failed),
        seconds=seconds,
        file_bytes=file_bytes,
    )
