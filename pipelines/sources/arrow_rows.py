"""Conversion of Arrow rows to Python, with checks, for Parquet files and datasets."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

Row = dict[Any, Any] | str  # a string says why the row is malformed


def python_rows(batch: Any) -> list[Row]:
    """Return the rows of a batch or table as Python values.

    A row is malformed if Python cannot hold a value: text that is not UTF-8, a date after the year
    9999, a mapping with a repeated key.

    Raises:
        pa.ArrowInvalid: the batch is damaged.
    """
    require_sound(batch)
    try:
        return batch.to_pylist(maps_as_pydicts="strict")
    except Exception:  # read row by row to find the value
        return [_python_row(batch, number) for number in range(batch.num_rows)]


def _python_row(batch: Any, number: int) -> Row:
    row: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = column[number].as_py(maps_as_pydicts="strict")
        # ValueError: Unicode, nanoseconds; OverflowError: dates; KeyError: maps.
        except (ValueError, OverflowError, KeyError, pa.ArrowException) as error:
            return f"column {name!r}, of type {column.type}: {error}"
    return row


def require_sound(batch: Any) -> None:
    """Check offsets and indices, because one outside its buffer would crash the process.

    Raises:
        pa.ArrowInvalid: an offset or index is invalid. Text that is not UTF-8 raises nothing here.
    """
    for column in batch.columns:
        chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        for chunk in chunks:
            try:
                chunk.validate(full=True)
            except pa.ArrowInvalid as error:
                if "UTF8" not in str(error):
                    raise
                # Validation stops at the first error: check the rest with texts as bytes.
                chunk.view(_as_bytes(chunk.type)).validate(full=True)


def _as_bytes(kind: Any) -> Any:
    """Return a type of the same layout with bytes instead of text."""
    types = pa.types
    if types.is_string(kind):
        return pa.binary()
    if types.is_large_string(kind):
        return pa.large_binary()
    if types.is_string_view(kind):
        return pa.binary_view()
    if types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _as_bytes(kind.value_type), kind.ordered)
    if types.is_struct(kind):
        return pa.struct([each.with_type(_as_bytes(each.type)) for each in kind])
    if types.is_map(kind):
        return pa.map_(_as_bytes(kind.key_type), _as_bytes(kind.item_type))
    if types.is_fixed_size_list(kind):
        return pa.list_(_item_as_bytes(kind), kind.list_size)
    for test, made in _LISTS.items():
        if test(kind):
            return made(_item_as_bytes(kind))
    return kind


def _item_as_bytes(kind: Any) -> Any:
    return kind.value_field.with_type(_as_bytes(kind.value_type))


_LISTS: Mapping[Any, Any] = {
    pa.types.is_list: pa.list_,
    pa.types.is_large_list: pa.large_list,
    pa.types.is_list_view: pa.list_view,
    pa.types.is_large_list_view: pa.large_list_view,
}
