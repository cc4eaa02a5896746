"""Values of Arrow's as Python's: the one place where rows of Parquet and datasets are checked."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

Row = dict[Any, Any] | str  # a string says why the row is malformed


def python_rows(batch: Any) -> list[Row]:
    """Return the rows of a batch or table as Python's values.

    A row with a value that Python has none for is malformed: text that is not UTF-8, a date
    after the year 9999, a mapping that has a key twice.

    Raises:
        pa.ArrowInvalid: if the batch is damaged.
    """
    require_sound(batch)
    try:
        return batch.to_pylist(maps_as_pydicts="strict")
    except Exception:  # of any value; which one, and whether it is an error, is seen below
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
    """Find offsets and indices that lead out of their buffers: following one would end the process.

    Raises:
        pa.ArrowInvalid: if there is one. Text that is not UTF-8 is left to who reads the rows.
    """
    for column in batch.columns:
        chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        for chunk in chunks:
            try:
                chunk.validate(full=True)
            except pa.ArrowInvalid as error:
                if "UTF8" not in str(error):
                    raise
                # Validation ends at the first fault: all else is looked at without that of text.
                chunk.view(_as_bytes(chunk.type)).validate(full=True)


def _as_bytes(kind: Any) -> Any:
    """Return a type of the same layout whose texts are bytes."""
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
