"""Values of Arrow's as Python's: the one place where rows of Parquet and datasets are checked."""

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
    """Find offsets that lead out of their buffers: following one would end the process.

    Raises:
        pa.ArrowInvalid: if there is one. Text that is not UTF-8 is left to who reads the rows.
    """
    for column in batch.columns:
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            if "UTF8" not in str(error):
                raise
