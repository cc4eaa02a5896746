"""Check the side-cars of one shard: made by this recipe, undamaged, and no row lost between."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from pipelines.images import FETCHED, WRITTEN, batches, read_checked
from pipelines.sidecar import (
    Origin,
    column,
    dead_letters_path,
    read_origin,
    read_rejects,
    read_table,
    sidecar_path,
)
from pipelines.stage import MapStage, wanted_fingerprint
from pipelines.storage import CorpusError, Storage
from schemas.fingerprint import content_digest

BATCH_ROWS = 256
KEY_SPACE = 1 << 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a check found, and which samples it saw: two sets of keys are equal if both are."""

    faults: list[str] = field(default_factory=list)
    samples: int = 0
    key_sum: int = 0  # of all keys as 128-bit numbers, modulo 2**128

    def __add__(self, other: "Findings") -> "Findings":
        return Findings(
            faults=self.faults + other.faults,
            samples=self.samples + other.samples,
            key_sum=(self.key_sum + other.key_sum) % KEY_SPACE,
        )

    @staticmethod
    def of_keys(keys: Sequence[str], faults: list[str]) -> "Findings":
        """Sum up the keys of one shard."""
        total = sum(int(key, 16) for key in keys) % KEY_SPACE
        return Findings(faults=faults, samples=len(keys), key_sum=total)


@dataclass(frozen=True, kw_only=True)
class CheckSidecars:
    """Check every stage's side-car of one shard number."""

    store: Storage
    stages: tuple[MapStage, ...]
    dedup_fingerprint: str

    def __call__(self, shard: int) -> Findings:
        """Return the faults of a shard, and the samples that should be in the corpus."""
        try:
            tables = {stage.folder: self._table(stage.folder, shard) for stage in self.stages}
            tables["duplicates"] = self._table("duplicates", shard)
            origins = {folder: self._origin(folder, shard) for folder in tables}
            faults = [*self._made_by_recipe(shard, origins)]
            faults += self._undamaged(shard, tables, origins)
            faults += self._conserved(shard, tables)
            faults += self._bytes_sound(tables)
        except CorpusError as error:
            return Findings(faults=[str(error)])
        keys = sorted({*column(tables["pairs"], "key")} & {*column(tables["tokens"], "key")})
        return Findings.of_keys(keys, faults)

    def _table(self, folder: str, shard: int) -> pa.Table:
        return read_table(self.store, sidecar_path(folder, shard))

    def _made_by_recipe(self, shard: int, origins: Mapping[str, Origin]) -> Iterator[str]:
        wanted = {s.folder: wanted_fingerprint(s, shard, self.store) for s in self.stages}
        wanted["duplicates"] = self.dedup_fingerprint
        for folder, fingerprint in wanted.items():
            if origins[folder].fingerprint != fingerprint:
                path = sidecar_path(folder, shard)
                yield f"{path}: made by another recipe, another version or from other input"

    def _undamaged(
        self, shard: int, tables: Mapping[str, pa.Table], origins: Mapping[str, Origin]
    ) -> Iterator[str]:
        for folder, table in tables.items():
            path, origin = sidecar_path(folder, shard), origins[folder]
            if content_digest(table) != origin.content:
                yield f"{path}: rows are not those that were written"
            keys = column(table, "key")
            members = (
                zip(keys, column(table, "member"), strict=True) if folder == "tokens" else keys
            )
            if (rows := list(members)) != sorted(set(rows)):
                yield f"{path}: keys are not in order, or not unique"
            if not origin.counts.conserved:
                yield f"{path}: rows in are not rows out: {origin.counts}"
            yield from self._counted(shard, folder, origin)

    def _counted(self, shard: int, folder: str, origin: Origin) -> Iterator[str]:
        """Compare the counts of rejects with the dead letters themselves."""
        if folder in ("duplicates", "selection"):  # their rejects are rows of the table
            return
        letters = read_rejects(self.store, origin.stage, shard)
        found = Counter(zip(column(letters, "door"), column(letters, "reason"), strict=True))
        counted = Counter({("dropped", r): n for r, n in origin.counts.dropped.items()})
        counted.update({("dead", r): n for r, n in origin.counts.dead.items()})
        if found != counted:
            path = dead_letters_path(origin.stage, shard)
            yield f"{path}: holds {dict(found)}, its stage counted {dict(counted)}"

    def _conserved(self, shard: int, tables: Mapping[str, pa.Table]) -> Iterator[str]:
        """Every row that went into a stage left by exactly one door."""
        duplicates, selection = tables["duplicates"], tables["selection"]
        unique = _where(duplicates, [not reason for reason in column(duplicates, "reason")])
        selected = _where(selection, column(selection, "kept"))
        steps = [
            ("crawl", "raw", column(tables["sources"], "key")),
            ("measure", "signals", column(tables["raw"], "key")),
            ("dedup", "duplicates", column(tables["signals"], "key")),
            ("select", "selection", unique),
            ("caption", "captions", selected),
            ("pair", "pairs", column(tables["captions"], "key")),
            ("vq_tokens", "tokens", column(tables["pairs"], "key")),
        ]
        for stage, folder, rows_in in steps:
            rejects = column(read_rejects(self.store, stage, shard), "id")
            left = Counter({*column(tables[folder], "key")}) + Counter(rejects)
            if lost := sorted({*rows_in} - {*left}):
                yield f"{sidecar_path(folder, shard)}: {len(lost)} rows lost, first {lost[0]}"
            if twice := sorted(key for key, times in left.items() if times > 1):
                yield f"{sidecar_path(folder, shard)}: {twice[0]} left by two doors"
            if new := sorted({*left} - {*rows_in}):
                yield f"{sidecar_path(folder, shard)}: {new[0]} comes from nowhere"

    def _bytes_sound(self, tables: Mapping[str, pa.Table]) -> Iterator[str]:
        """Read what raw and tokens refer to; each row has the hash of its bytes."""
        for name, fault in (("raw", FETCHED), ("tokens", WRITTEN)):
            try:
                for batch in batches(tables[name].to_pylist(), BATCH_ROWS):
                    read_checked(batch, self.store, fault)
            except (CorpusError, FileNotFoundError) as error:
                yield f"{name}: {error}"

    def _origin(self, folder: str, shard: int) -> Origin:
        path = sidecar_path(folder, shard)
        origin = read_origin(self.store, path)
        if origin is None:
            raise CorpusError(f"{path}: missing")
        return origin


def _where(table: pa.Table, flags: Sequence[bool]) -> list[str]:
    return [key for key, flag in zip(column(table, "key"), flags, strict=True) if flag]
