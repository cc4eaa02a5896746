"""Side-cars: one Parquet file per stage and shard, with its origin and the outcomes of its rows."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.fingerprint import content_digest
from schemas.keys import shard_name
from schemas.store.storage import CorpusError, Storage
from schemas.tables import DEAD_LETTERS

_METADATA_KEY = b"vargpt"
# Footers read at once: they are small, and far away on an object store.
FOOTER_THREADS = 32
FOOTER_BYTES = 1 << 16  # more than the footers of side-cars have

T = TypeVar("T")


EARLIER = (
    "was written by an earlier release, whose names for what it stores this one does not read; "
    "build into another folder, or go on with that release"
)


class EarlierReleaseError(CorpusError):
    """A file that an earlier release wrote, and this one does not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What became of the rows that entered a stage: rows_in = kept + dropped + failed."""

    rows_in: int = 0
    kept: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)  # reason -> rows
    failed: Mapping[str, int] = field(default_factory=dict)  # error class -> rows

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            rows_in=self.rows_in + other.rows_in,
            kept=self.kept + other.kept,
            dropped=_sum(self.dropped, other.dropped),
            failed=_sum(self.failed, other.failed),
        )

    @property
    def failed_rows(self) -> int:
        """The number of rows that failed."""
        return sum(self.failed.values())

    @property
    def conserved(self) -> bool:
        """Whether every row has one outcome."""
        left = self.kept + sum(self.dropped.values()) + self.failed_rows
        return left == self.rows_in


class Used(NamedTuple):
    """Answers of a model, and their tokens."""

    answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def plus(self, other: "Used") -> "Used":
        """Add up."""
        return Used(*(a + b for a, b in zip(self, other, strict=True)))


def add_used(a: Mapping[str, Used], b: Mapping[str, Used]) -> dict[str, Used]:
    """Return the sums, by engine."""
    return {name: a.get(name, Used()).plus(b.get(name, Used())) for name in sorted({*a, *b})}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The footer of a side-car: its stage, a digest of its rows, the outcomes of its input."""

    stage: str
    folder: str = ""  # of the file
    fingerprint: str  # of the stage's configuration, version and inputs
    content: str  # digest of the rows
    keys: str = ""  # digest of the keys of the kept rows
    counts: Counts
    tar: Mapping[str, str | int] = field(default_factory=dict)  # of an output shard: bytes, sha256
    files: tuple[str, ...] = ()  # in the corpus, published with it; its rows refer to them
    passed_over: Mapping[str, int] = field(default_factory=dict)  # in the input and no row
    used: Mapping[str, Used] = field(default_factory=dict)  # answers that its rows rest on
    # Fingerprint without the lists that rows are judged by: of an equal one the rows are taken
    # over, and judged again. '' where there are no lists.
    base: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """A row that its stage did not keep."""

    id: str
    reason: str  # stable class
    detail: str  # a sentence with the offending value
    dropped: bool = False  # a decision; otherwise failed: unusable input


def sidecar_path(folder: str, shard: int) -> str:
    """Return the path of a side-car below the corpus."""
    return f"{folder}/{shard_name(shard)}.parquet"


def dead_letters_path(stage: str, shard: int) -> str:
    """Return the path of a stage's rejects below the corpus."""
    return sidecar_path(f"dead_letters/{stage}", shard)


def count(rows_in: int, kept: int, rejects: Sequence[Reject]) -> Counts:
    """Count the outcomes of a shard's rows."""
    dropped: dict[str, int] = {}
    failed: dict[str, int] = {}
    for reject in rejects:
        outcome = dropped if reject.dropped else failed
        outcome[reject.reason] = outcome.get(reject.reason, 0) + 1
    return Counts(rows_in=rows_in, kept=kept, dropped=_sum(dropped, {}), failed=_sum(failed, {}))


def write_sidecar(store: Storage, path: str, table: pa.Table, origin: Origin) -> None:
    """Publish a side-car; this is the commit of its shard."""
    counts = origin.counts
    described = {
        "stage": origin.stage,
        "folder": path.rpartition("/")[0],
        "fingerprint": origin.fingerprint,
        "content": origin.content,
        "keys": origin.keys,
        "rows_in": counts.rows_in,
        "kept": counts.kept,
        "dropped": dict(counts.dropped),
        "failed": dict(counts.failed),
        "tar": dict(origin.tar),
        "files": list(origin.files),
        "passed_over": dict(origin.passed_over),
        **({"used": dict(origin.used)} if origin.used else {}),
        **({"base": origin.base} if origin.base else {}),
    }
    metadata = {_METADATA_KEY: json.dumps(described, sort_keys=True).encode()}
    store.commit_bytes(path, _parquet(table.replace_schema_metadata(metadata)))


def write_dead_letters(store: Storage, stage: str, shard: int, rejects: Sequence[Reject]) -> None:
    """Publish a shard's rejects, or remove those of an earlier run if there are none now.

    Raises:
        CorpusError: if what stands under their name is no such file, which is left alone.
    """
    path = dead_letters_path(stage, shard)
    before = _letters_there(store, path)
    if not rejects:
        if before:
            store.remove(path)
        return
    rows = [
        {
            "id": reject.id,
            "stage": stage,
            "outcome": "dropped" if reject.dropped else "failed",
            "reason": reject.reason,
            "detail": reject.detail,
        }
        for reject in sorted(rejects, key=lambda reject: (reject.id, reject.reason))
    ]
    store.commit_bytes(path, _parquet(pa.Table.from_pylist(rows, schema=DEAD_LETTERS)))


def _letters_there(store: Storage, path: str) -> bool:
    """Whether dead letters of an earlier run are there."""
    try:
        found = _footer(store, path).schema.to_arrow_schema()
    except FileNotFoundError:
        return False
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from error
    if found.names != DEAD_LETTERS.names:
        raise CorpusError(
            f"{path}: not dead letters of ours, its columns are {', '.join(found.names)}; move it "
            "out of the corpus"
        )
    return True


def read_rejects(store: Storage, stage: str, shard: int) -> pa.Table:
    """Read the rejects of a shard, of schema DEAD_LETTERS."""
    path = dead_letters_path(stage, shard)
    return read_table(store, path) if store.exists(path) else DEAD_LETTERS.empty_table()


def make_origin(
    stage: str,
    fingerprint: str,
    table: pa.Table,
    counts: Counts,
    *,
    tar: Mapping[str, str | int] | None = None,
    files: Iterable[str] = (),
    passed_over: Mapping[str, int] | None = None,
    used: Mapping[str, Used] | None = None,
    base: str = "",
) -> Origin:
    """Describe a table about to be written."""
    return Origin(
        stage=stage,
        fingerprint=fingerprint,
        content=content_digest(table),
        keys=content_digest(kept_rows(table).select(["key"])),
        counts=counts,
        tar=tar or {},
        files=tuple(sorted(files)),
        passed_over=_sum(passed_over or {}, {}),
        used=used or {},
        base=base,
    )


def read_origin(store: Storage, path: str) -> Origin | None:
    """Read the footer of a side-car; None if there is no such file.

    Raises:
        CorpusError: if the file is not one of our side-cars.
    """
    try:
        metadata = _footer(store, path).metadata or {}
    except FileNotFoundError:
        return None
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from error
    if _METADATA_KEY not in metadata:
        raise CorpusError(
            f"{path}: not a side-car of ours, its footer says nothing; move it out of the corpus"
        )
    try:
        told = json.loads(metadata[_METADATA_KEY])
        if "dead" in told:  # now `failed`
            raise EarlierReleaseError(f"{path}: {EARLIER}")
        return _origin(told)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorpusError(
            f"{path}: not a readable side-car (its footer says {error!r}); remove it and build "
            "again"
        ) from error


def each_shard(function: Callable[[int], T], shards: Iterable[int]) -> list[T]:
    """Call a function that reads a footer for every shard, many at once, in their order."""
    with ThreadPoolExecutor(FOOTER_THREADS) as threads:
        return list(threads.map(function, shards))


def read_origins(store: Storage, folder: str, shards: Iterable[int]) -> list[Origin]:
    """Read the footers of a folder's side-cars.

    Raises:
        CorpusError: a line for each that is missing.
    """
    paths = [sidecar_path(folder, shard) for shard in shards]
    found = each_shard(lambda number: read_origin(store, paths[number]), range(len(paths)))
    missing = [path for path, origin in zip(paths, found, strict=True) if origin is None]
    if missing:
        raise CorpusError("\n".join(f"{path}: missing; build again" for path in missing))
    return [origin for origin in found if origin is not None]


def read_table(store: Storage, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a side-car, or some of its columns.

    Raises:
        CorpusError: if it is missing or not readable.
    """
    try:
        data = store.read(path)
    except FileNotFoundError as error:
        raise CorpusError(f"{path}: missing; run the build again to make it") from error
    try:
        # From memory and in this thread: Arrow's own threads would call back into Python's file.
        parquet = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        return parquet.read(columns=None if columns is None else list(columns), use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from error


def read_columns(store: Storage, path: str, columns: Sequence[str]) -> pa.Table:
    """Read some columns of a side-car, and of a local file no other bytes than theirs.

    Raises:
        CorpusError: if it is missing, not readable, or lacks one of the columns.
    """
    if not store.is_local:
        table = read_table(store, path, columns)
    else:
        try:
            # Without the buffer that fetches columns ahead, which costs half as much again.
            with pq.ParquetFile(
                store.locate(path)[1], pre_buffer=False, page_checksum_verification=True
            ) as file:
                table = file.read(columns=list(columns), use_threads=False)
        except FileNotFoundError as error:
            raise CorpusError(f"{path}: missing; run the build again to make it") from error
        except (pa.ArrowInvalid, OSError) as error:
            raise _unreadable(path, error) from error
    if missing := [name for name in columns if name not in table.column_names]:
        raise CorpusError(f"{path}: has no column {missing[0]}; run the build again to make it")
    return table.select(list(columns))


def kept_rows(table: pa.Table) -> pa.Table:
    """Return the rows of a side-car that its stage kept: all, or those without a reason to go."""
    if "reason" not in table.column_names:
        return table
    return table.filter(pc.field("reason") == "")


def kept_keys(store: Storage, folder: str, shard: int) -> pa.Array:
    """Return the keys of the rows that a stage kept of one shard, in key order, each once.

    Raises:
        CorpusError: if its side-car is missing or not readable.
    """
    # Arrow leaves out a column that the file has not: `reason` stands in some side-cars only.
    table = kept_rows(read_table(store, sidecar_path(folder, shard), ("key", "reason")))
    return pc.unique(table["key"].combine_chunks())


def rows_with(table: pa.Table, keys: pa.Array) -> pa.Table:
    """Return the rows of a table that have these keys, one each.

    Raises:
        AssertionError: if a key has none or several: a bug of the stage that wrote the table.
    """
    rows = table.filter(pc.is_in(table["key"], keys))
    if rows.num_rows != len(keys):
        raise AssertionError(f"{len(keys):,} keys, {rows.num_rows:,} rows of them")
    return rows


def is_as_written(data: bytes, schema: pa.Schema) -> bool:
    """Whether a side-car holds exactly the bytes that its rows and footer are written as.

    Not known, and so true, of one that another release of Arrow wrote.
    """
    parquet = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    version = re.fullmatch(r"parquet-cpp-arrow version ([\d.]+)", parquet.metadata.created_by)
    if version is None or version[1] != pa.__version__:
        return version is not None
    # In the words of the schema: Parquet gives names and metadata inside lists back as its own.
    rows = pa.table(parquet.read(use_threads=False).columns, schema=schema)
    footer = parquet.metadata.metadata or {}
    if _METADATA_KEY in footer:
        told = json.dumps(json.loads(footer[_METADATA_KEY]), sort_keys=True)
        rows = rows.replace_schema_metadata({_METADATA_KEY: told.encode()})
    return _parquet(rows) == data


def blank_row(fields: Iterable["pa.Field[Any]"]) -> dict[str, Any]:
    """Return a row of texts and numbers that says nothing: '' and 0.

    >>> blank_row([pa.field("name", pa.string()), pa.field("bytes", pa.int64())])
    {'name': '', 'bytes': 0}
    """
    return {each.name: "" if pa.types.is_string(each.type) else 0 for each in fields}


def column(table: pa.Table, name: str) -> list[Any]:
    """Return one column's values."""
    return table[name].to_pylist()


def read_schema(store: Storage, path: str) -> pa.Schema:
    """Return the schema of a side-car, with the metadata of its columns.

    Raises:
        CorpusError: if it is missing or not readable.
    """
    try:
        return _footer(store, path).schema.to_arrow_schema()
    except FileNotFoundError as error:
        raise CorpusError(f"{path}: missing; run the build again to make it") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from error


def _footer(store: Storage, path: str) -> pq.FileMetaData:
    data = store.read_end(path, FOOTER_BYTES)
    length = int.from_bytes(data[-8:-4], "little") + 8  # as the file's last bytes say
    if FOOTER_BYTES == len(data) < length:
        data = store.read_end(path, length)
    return pq.read_metadata(pa.BufferReader(data))


def _unreadable(path: str, error: Exception) -> Exception:
    """Tell a damaged file from a store that fails: Arrow's own errors have no number."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    return CorpusError(f"{path}: not a readable side-car ({error}); remove it and build again")


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    # Whatever chunks it was put together from.
    pq.write_table(table.combine_chunks(), sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue().to_pybytes()


def _origin(data: dict[str, Any]) -> Origin:
    counts = Counts(**{name: data[name] for name in ("rows_in", "kept", "dropped", "failed")})
    return Origin(
        stage=data["stage"],
        folder=data["folder"],
        fingerprint=data["fingerprint"],
        content=data["content"],
        keys=data["keys"],
        counts=counts,
        tar=data["tar"],
        files=tuple(data["files"]),
        passed_over=data["passed_over"],
        used={name: Used(*map(int, used)) for name, used in data.get("used", {}).items()},
        base=data.get("base", ""),
    )


def _sum(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
    return {name: a.get(name, 0) + b.get(name, 0) for name in sorted({*a, *b})}
