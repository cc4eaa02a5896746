"""Parquet lists: columns, and rows of a part."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.sources.arrow_rows import Row, python_rows
from pipelines.sources.columns import FoundColumns, column_of, roots
from pipelines.sources.listing import Unit
from pipelines.sources.lists.text import BUFFER_BYTES
from pipelines.sources.names import shown
from schemas.source_config import Columns
from schemas.store.storage import CorpusError

PARQUET_BATCH_ROWS = 4096


def open_parquet(file: Any, url: str) -> pq.ParquetFile:
    """Open a Parquet file for streaming.

    Raises:
        CorpusError: the file is no valid Parquet file.
    """
    try:
        # With a buffer, a column of a large row group is not read at once.
        parquet = pq.ParquetFile(file, buffer_size=BUFFER_BYTES)
        _ = parquet.schema_arrow.names  # raises for names that are not UTF-8
        if (stated := parquet.metadata.num_rows) != (held := rows_in(parquet)):
            raise pa.ArrowInvalid(f"its footer says {stated:,} rows, its row groups hold {held:,}")
        return parquet
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise _damaged(url, error) from error


def _damaged(url: str, error: Exception) -> Exception:
    """Return a CorpusError for a damaged file, or the error of a store, which has an errno."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    return CorpusError(f"{url}: not a readable Parquet file ({' '.join(str(error).split())})")


def parquet_rows(file: Any, unit: Unit, columns: Columns) -> Iterator[Row]:
    """Read the mapped columns of a unit's rows.

    Raises:
        CorpusError: the file is damaged.
    """
    # Name an unpacked list by its original name too.
    path = shown(unit.path)
    url = path if path.endswith(unit.name) else f"{unit.name}, unpacked as {path}"
    parquet = open_parquet(file, url)
    names = roots(columns, parquet.schema_arrow.names)
    first = 0
    try:
        for group in range(parquet.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            if first < unit.end and unit.start < first + rows:
                low, high = unit.start - first, unit.end - first
                yield from _group_rows(parquet, group, names, low, high)
            first += rows
    except (pa.ArrowException, OSError) as error:
        raise _damaged(url, error) from error


def rows_in(parquet: pq.ParquetFile) -> int:
    """Return the sum of the row groups' rows, which are the rows that can be read."""
    metadata = parquet.metadata
    return sum(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))


def _group_rows(
    parquet: pq.ParquetFile, group: int, columns: list[str], start: int, end: int
) -> Iterator[Row]:
    at = 0
    for batch in parquet.iter_batches(PARQUET_BATCH_ROWS, row_groups=[group], columns=columns):
        low, high = max(start - at, 0), min(end - at, batch.num_rows)
        if low < high:
            yield from python_rows(batch.slice(low, high - low))
        at += batch.num_rows
        if at >= end:
            return
    if at < min(end, rows := parquet.metadata.row_group(group).num_rows):
        raise pa.ArrowInvalid(f"row group {group} holds {at:,} rows, its footer says {rows:,}")


def found_in_schema(url: str, schema: pa.Schema, columns: Columns) -> FoundColumns:
    """Return the fields with a column in a file.

    Raises:
        CorpusError: a column has no text type, or occurs twice.
    """
    fields: set[str] = set()
    names: dict[str, Sequence[str]] = {name: [name] for name in schema.names}
    for field, path in columns.mapped().items():
        name = column_of(path, schema.names)
        if name is None:
            continue
        if schema.names.count(name) > 1:
            raise CorpusError(f"{url}: more than one column is named {name}")
        kind = _type_at(schema.field(name).type, str(path)[len(name) :])
        if kind is None:
            names[name] = _paths(name, schema.field(name).type)
            continue
        fields.add(field)
        while is_list(kind) and field != "url":
            kind = kind.value_type
        if pa.types.is_struct(kind) and field != "turns":  # a turn is a struct
            keys = [kind.field(number).name for number in range(kind.num_fields)]
            raise CorpusError(
                f"{url}: column {path!r} is a struct of {', '.join(keys)}, expected text; "
                f"name one: columns: {{{field}: {path}.{keys[0] if keys else 'KEY'}}}"
            )
    shown = [path for paths in names.values() for path in paths]
    return FoundColumns(file=url, names=shown, fields=fields)


def _paths(name: str, kind: Any) -> Sequence[str]:
    """Return the paths of a column's parts that are no structs."""
    while is_list(kind):
        kind = kind.value_type
    if not pa.types.is_struct(kind) or not kind.num_fields:
        return [name]
    fields = [kind.field(number) for number in range(kind.num_fields)]
    return [path for each in fields for path in _paths(f"{name}.{each.name}", each.type)]


def _type_at(kind: Any, rest: str) -> Any:
    """Return the type at the rest of a path, None if there is none."""
    if not rest or pa.types.is_map(kind):  # the keys of a map are data, not part of the type
        return pa.string() if rest else kind
    if is_list(kind):
        index = re.match(r"\[-?\d+\]", rest)
        return _type_at(kind.value_type, rest[index.end() :] if index else rest)
    if not pa.types.is_struct(kind):
        return kind  # text may be JSON; other values are reported with the row
    inner = rest.removeprefix(".")
    names = [kind.field(number).name for number in range(kind.num_fields)]
    name = column_of(inner, names)
    return None if name is None else _type_at(kind.field(name).type, inner[len(name) :])


def is_list(kind: Any) -> bool:
    """Return whether an Arrow type is a list of any kind."""
    types = pa.types
    return any(
        test(kind)
        for test in (
            types.is_list,
            types.is_large_list,
            types.is_fixed_size_list,
            types.is_list_view,
            types.is_large_list_view,
        )
    )
