"""Lists of URLs: CSV, TSV, JSONL and Parquet files, read by parts that never share a row."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.addresses import check_url
from pipelines.fetch import Fetched, FetchFailure, FetchLimits, HttpFetcher
from pipelines.raw_shard import RawShard
from pipelines.readers.listing import Listed, Unit, listed_from
from pipelines.sidecar import Reject, column
from pipelines.storage import CorpusError, Storage
from schemas.recipe import Columns, ListSource

# Rows of a list whose bytes or syntax are broken; csv raises on NULs and on cells over 128 KiB.
MALFORMED = "malformed_row"


@dataclass(frozen=True, slots=True)
class ListReader:
    """Lists of URLs that are then crawled."""

    source: ListSource
    limits: FetchLimits

    def plan(self, rows_per_shard: int, store: Storage) -> list[Unit]:
        """Cut every file of the source into units of `rows_per_shard` rows."""
        return plan_lists(self.source.name, self.source.path, rows_per_shard)

    def rows(self, unit: Unit) -> Iterator[Listed | Reject]:
        """List the rows; a missing or malformed URL is a dead letter."""
        for row in read_list(unit, self.source.columns):
            yield row if isinstance(row, Reject) else self._checked(row)

    def _checked(self, row: Listed) -> Listed | Reject:
        if not row.url:
            column = self.source.columns.url
            return Reject(id=row.id, reason="missing_url", detail=f"column {column!r} is empty")
        if why := check_url(self._join(row.url)):
            return Reject(id=row.id, reason="bad_url", detail=f"{row.url!r}: {why}")
        return row

    def acquire(self, unit: Unit, rows: pa.Table, raw: RawShard) -> None:
        """Fetch the URLs, concurrently."""
        keys = column(rows, "key")
        fetch(keys, [self._join(url) for url in column(rows, "url")], self.limits, raw)

    def _join(self, url: str) -> str:
        try:
            return urljoin(self.source.base_url, url) if self.source.base_url else url
        except ValueError:  # "http://[::1": check_url says what is wrong with it
            return url


def fetch(keys: list[str], urls: list[str], limits: FetchLimits, raw: RawShard) -> None:
    """Fetch a URL for each key into `raw`; each key leaves by exactly one door."""

    def sink(index: int, result: Fetched | FetchFailure) -> None:
        key = keys[index]
        if isinstance(result, Fetched):
            raw.store(
                key,
                result.body,
                final_url=result.final_url,
                status=result.status,
                content_type=result.content_type,
                robots=result.robots,
            )
        else:
            detail = f"{urls[index]}: {result.detail}"
            raw.reject(key, result.error, detail, dropped=result.dropped)

    HttpFetcher(limits)(enumerate(urls), sink)


def plan_lists(source: str, path: str, rows_per_shard: int) -> list[Unit]:
    """Cut the files of a path or glob into units of `rows_per_shard` rows, in name order.

    Raises:
        CorpusError: if nothing is there, or a file's suffix is not of a known list format.
    """
    units: list[Unit] = []
    for fs, name in expand(path):
        format_ = list_format(name)
        version = str(fs.ukey(name))
        with fs.open(name, "rb") as file:
            parts = (
                _plan_parquet(file, rows_per_shard)
                if format_ is None
                else (_plan_text(file, format_, rows_per_shard))
            )
        full = fs.unstrip_protocol(name)
        units += [
            Unit(source=source, path=full, version=version, start=a, end=b, first_row=row)
            for a, b, row in parts
        ]
    return units


def expand(path: str) -> list[tuple[Any, str]]:
    """Return (file system, path) of each file that a path or glob names, in name order.

    Raises:
        CorpusError: if there is none.
    """
    fs, full = fsspec.core.url_to_fs(path)
    names = sorted(fs.glob(full)) if any(c in full for c in "*?[") else [full]
    if not names or not all(fs.isfile(name) for name in names):
        raise CorpusError(f"{path}: no such file")
    return [(fs, name) for name in names]


@dataclass(frozen=True, slots=True)
class _Text:
    """How records of a text list are told apart: CSV cells may hold line ends."""

    delimiter: str = ""  # '' for JSONL


def list_format(name: str) -> _Text | None:
    """Tell a list's format by its suffix; None is Parquet.

    Raises:
        CorpusError: for another suffix.
    """
    suffix = name.rsplit(".", 1)[-1].lower()
    formats = {"csv": _Text(","), "tsv": _Text("\t"), "jsonl": _Text(), "ndjson": _Text()}
    if suffix == "parquet":
        return None
    if suffix not in formats:
        raise CorpusError(f"{name}: expected a list in .csv, .tsv, .jsonl, .ndjson or .parquet")
    return formats[suffix]


def read_list(unit: Unit, columns: Columns) -> Iterator[Listed | Reject]:
    """Read the rows of one unit of a list; a row that cannot be parsed is a reject."""
    fs, name = fsspec.core.url_to_fs(unit.path)
    format_ = list_format(name)
    with fs.open(name, "rb") as file:
        if format_ is None:
            found: Iterator[Any] = _parquet_rows(file, unit.start, unit.end, columns)
        elif format_.delimiter:
            found = _csv_rows(file, unit.start, unit.end, format_.delimiter)
        else:
            found = _jsonl_rows(file, unit.start, unit.end)
        for number, row in enumerate(found, unit.first_row):
            id_ = f"{name.rsplit('/', 1)[-1]}:{number}"
            if isinstance(row, str):
                yield Reject(id=id_, reason=MALFORMED, detail=row)
            else:
                yield listed_from(id_, row, columns)


def _plan_text(file: Any, format_: _Text, rows_per_shard: int) -> list[tuple[int, int, int]]:
    """Return (first byte, end byte, first row) of each part; one pass over the file."""
    lines = _Lines(file)
    records: Any = lines
    if format_.delimiter:
        records = csv.reader(lines, delimiter=format_.delimiter)
        next(records, None)  # the header
    parts: list[tuple[int, int, int]] = []
    start, rows = lines.position, 0
    for _ in _keep_going(records):
        rows += 1
        if rows % rows_per_shard == 0:
            parts.append((start, lines.position, rows - rows_per_shard))
            start = lines.position
    if rows % rows_per_shard:
        parts.append((start, lines.position, rows - rows % rows_per_shard))
    return parts


def _plan_parquet(file: Any, rows_per_shard: int) -> list[tuple[int, int, int]]:
    rows = pq.ParquetFile(file).metadata.num_rows
    starts = range(0, rows, rows_per_shard)
    return [(start, min(start + rows_per_shard, rows), start) for start in starts]


@dataclass(slots=True)
class _Lines:
    """Lines of a binary file as text, up to a byte; knows where the next one begins."""

    file: Any
    end: float = float("inf")
    position: int = field(init=False)

    def __post_init__(self) -> None:
        self.position = self.file.tell()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.file.readline() if self.position < self.end else b""
        if not line:
            raise StopIteration
        self.position += len(line)
        return line.decode("utf-8-sig" if self.position == len(line) else "utf-8", "replace")


def _keep_going(records: Iterator[Any]) -> Iterator[Any]:
    """Go on after a record that csv refuses; such a record is given as the error's words."""
    while True:
        try:
            yield next(records)
        except StopIteration:
            return
        except csv.Error as error:
            yield str(error)


def _csv_rows(file: Any, start: int, end: int, delimiter: str) -> Iterator[dict[str, str] | str]:
    header = next(csv.reader(_Lines(file), delimiter=delimiter), [])
    file.seek(start)
    for cells in _keep_going(csv.reader(_Lines(file, end), delimiter=delimiter)):
        if isinstance(cells, str):
            yield cells
        elif len(cells) > len(header):
            yield f"{len(cells)} cells under {len(header)} columns: {cells!r:.200}"
        else:
            yield dict(zip(header, cells, strict=False))


def _jsonl_rows(file: Any, start: int, end: int) -> Iterator[dict[str, Any] | str]:
    file.seek(start)
    for line in _Lines(file, end):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield f"not JSON ({error}): {line!r:.200}"
            continue
        yield row if isinstance(row, dict) else f"expected an object: {line!r:.200}"


def _parquet_rows(file: Any, start: int, end: int, columns: Columns) -> Iterator[dict[str, Any]]:
    parquet = pq.ParquetFile(file)
    wanted = [name for name in columns.model_dump().values() if name in parquet.schema_arrow.names]
    first = 0
    for group in range(parquet.num_row_groups):
        rows = parquet.metadata.row_group(group).num_rows
        if first < end and start < first + rows:
            at = first
            for batch in parquet.iter_batches(row_groups=[group], columns=wanted):
                low, high = max(start - at, 0), min(end - at, batch.num_rows)
                yield from batch.slice(low, high - low).to_pylist() if low < high else ()
                at += batch.num_rows
        first += rows
