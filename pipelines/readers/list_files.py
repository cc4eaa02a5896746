"""CSV, TSV, JSONL and Parquet files, read by parts that never share a row."""

import io
from collections.abc import Collection, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.readers.files import SourceFile, expand
from pipelines.readers.listing import Listed, Unit, listed_from
from pipelines.readers.text_lists import (
    BUFFER_BYTES,
    Lines,
    Row,
    csv_records,
    csv_rows,
    json_lines,
    jsonl_rows,
    read_header,
)
from pipelines.retries import open_fs
from pipelines.sidecar import Reject
from pipelines.storage import CorpusError
from schemas.recipe import Columns

# Rows of a list whose bytes or syntax are broken.
MALFORMED = "malformed_row"
PARQUET_BATCH_ROWS = 4096

Part = tuple[int, int, int, int]  # start, end, number of the first row, rows


def plan_lists(source: str, path: str, rows_per_shard: int, url_column: str) -> list[Unit]:
    """Cut the files of a path or glob into units of `rows_per_shard` rows, in name order.

    Costs one pass over text files, and the footers of Parquet files.

    Raises:
        CorpusError: if nothing is there, a file's suffix is not of a known list format, its
            header cannot be read or names no `url_column`.
    """
    units: list[Unit] = []
    for file in expand(path):
        units += [
            Unit(
                source=source,
                path=file.url,
                name=file.name,
                version=file.version,
                start=start,
                end=end,
                first_row=row,
                rows=rows,
            )
            for start, end, row, rows in _plan_file(file, rows_per_shard, url_column)
        ]
    return units


def read_list(unit: Unit, columns: Columns) -> Iterator[Listed | Reject]:
    """Read the rows of one unit of a list; a row that cannot be parsed is a reject."""
    for id_, row in read_rows(unit, columns.model_dump().values()):
        yield row if isinstance(row, Reject) else listed_from(id_, row, columns)


def read_rows(unit: Unit, wanted: Collection[str]) -> Iterator[tuple[str, dict[str, Any] | Reject]]:
    """Read (id, row) of one unit; of Parquet the `wanted` columns, of other lists all."""
    fs, path = open_fs(unit.path)
    delimiter = _delimiter(path)
    with fs.open(path, "rb") as file:
        if delimiter is None:
            found: Iterator[Row] = _parquet_rows(file, unit, wanted)
        elif delimiter:
            found = csv_rows(file, unit, delimiter)
        else:
            found = jsonl_rows(file, unit)
        for number, row in enumerate(found, unit.first_row):
            id_ = f"{unit.name}:{number}"
            if isinstance(row, str):
                yield id_, Reject(id=id_, reason=MALFORMED, detail=row)
            else:
                yield id_, row


def _delimiter(name: str) -> str | None:
    """Tell a list's format by its suffix: '' is JSONL, None is Parquet.

    Raises:
        CorpusError: for another suffix.
    """
    suffix = name.rsplit(".", 1)[-1].lower()
    formats = {"csv": ",", "tsv": "\t", "jsonl": "", "ndjson": "", "parquet": None}
    if suffix not in formats:
        known = ", ".join(f".{known}" for known in formats)
        raise CorpusError(f"{name}: expected a list in {known}, not compressed")
    return formats[suffix]


def _plan_file(source: SourceFile, rows_per_shard: int, url_column: str) -> list[Part]:
    delimiter = _delimiter(source.path)
    with source.fs.open(source.path, "rb") as file:
        if delimiter is None:
            parquet = open_parquet(file, source.url)
            _require(url_column, parquet.schema_arrow.names, source.url)
            rows = parquet.metadata.num_rows
            starts = range(0, rows, rows_per_shard)
            ends = [min(start + rows_per_shard, rows) for start in starts]
            return [
                (start, end, start, end - start) for start, end in zip(starts, ends, strict=True)
            ]
        lines = Lines(io.BufferedReader(file, BUFFER_BYTES))
        if not delimiter:
            return _cut(json_lines(lines), lines, rows_per_shard)
        if header := read_header(lines, delimiter, source.url):
            _require(url_column, header, source.url)
        return _cut(csv_records(lines, delimiter), lines, rows_per_shard)


def _cut(records: Iterator[Any], lines: "Lines", rows_per_shard: int) -> list[Part]:
    """Return the parts of a text list; `records` are what is left of `lines`."""
    parts: list[Part] = []
    start, rows = lines.position, 0
    for _ in records:
        rows += 1
        if rows % rows_per_shard == 0:
            parts.append((start, lines.position, rows - rows_per_shard, rows_per_shard))
            start = lines.position
    if left := rows % rows_per_shard:
        parts.append((start, lines.position, rows - left, left))
    return parts


def _require(column: str, columns: Collection[str], url: str) -> None:
    if column not in columns:
        raise CorpusError(f"{url}: no column {column!r} among {', '.join(columns)}")


def open_parquet(file: Any, url: str) -> pq.ParquetFile:
    """Open a Parquet file, to be streamed.

    Raises:
        CorpusError: if it is none.
    """
    try:
        # Buffered, a column of a large row group is not read at once.
        return pq.ParquetFile(file, buffer_size=BUFFER_BYTES)
    except (pa.ArrowInvalid, OSError) as error:
        raise _damaged(url, error) from error


def _damaged(url: str, error: Exception) -> Exception:
    """Tell a damaged file from a store that fails: Arrow's own errors have no number."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    return CorpusError(f"{url}: not a readable Parquet file ({error})")


def _parquet_rows(file: Any, unit: Unit, wanted: Collection[str]) -> Iterator[Row]:
    parquet = open_parquet(file, unit.path)
    columns = [name for name in dict.fromkeys(wanted) if name in parquet.schema_arrow.names]
    first = 0
    try:
        for group in range(parquet.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            if first < unit.end and unit.start < first + rows:
                low, high = unit.start - first, unit.end - first
                yield from _group_rows(parquet, group, columns, low, high)
            first += rows
    except (pa.ArrowInvalid, OSError) as error:
        raise _damaged(unit.path, error) from error


def _group_rows(
    parquet: pq.ParquetFile, group: int, columns: list[str], start: int, end: int
) -> Iterator[dict[str, Any]]:
    at = 0
    for batch in parquet.iter_batches(PARQUET_BATCH_ROWS, row_groups=[group], columns=columns):
        low, high = max(start - at, 0), min(end - at, batch.num_rows)
        if low < high:
            yield from batch.slice(low, high - low).to_pylist()
        at += batch.num_rows
        if at >= end:
            return
