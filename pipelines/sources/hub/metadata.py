"""Reading of metadata.csv and .jsonl of image folders as text, without guessing types."""

import csv
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from schemas.store.storage import CorpusError

_ROWS = 10_000
_INSTEAD = "or read it with kind: folder and list:, where such a row is lost alone"


def read_as_written(builder: Any) -> None:
    """Make a builder of `datasets` for image folders read its metadata with `_tables`."""
    theirs = builder._read_metadata

    def read(metadata_file: str, metadata_ext: str = "") -> Iterator[pa.Table]:
        try:
            found = _tables(metadata_file, metadata_ext) if metadata_ext in _READ else None
            yield from found or theirs(metadata_file, metadata_ext=metadata_ext)
        except (ValueError, csv.Error, pa.ArrowException, RecursionError) as error:
            message = " ".join(str(error).split())
            raise CorpusError(f"{metadata_file}: cannot be read: {message}; {_INSTEAD}") from error

    builder._read_metadata = read


def _tables(name: str, suffix: str) -> Iterator[pa.Table]:
    from datasets.utils.file_utils import xopen  # archives too

    with xopen(name, "r", encoding="utf-8-sig", newline="") as file:
        yield from _READ[suffix](file)


def _csv(file: Any) -> Iterator[pa.Table]:
    lines = csv.reader(file, strict=True)
    names, rows = next(lines, []), list[dict[str, Any]]()
    for cells in lines:
        if len(cells) > len(names):
            raise ValueError(
                f"line {lines.line_num}: {len(cells)} cells under {len(names)} names; wrap a text "
                "with commas in quotes"
            )
        if cells:
            rows.append(dict.fromkeys(names, "") | dict(zip(names, cells, strict=False)))
        if len(rows) == _ROWS:
            yield _table(rows)
            rows = []
    if rows:
        yield _table(rows)


def _jsonl(file: Any) -> Iterator[pa.Table]:
    rows: list[Any] = []
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"line {number}: not JSON ({error})") from error
        if not isinstance(rows[-1], dict):
            raise ValueError(f"line {number}: expected a JSON object")
        if len(rows) == _ROWS:
            yield _table(rows)
            rows = []
    if rows:
        yield _table(rows)


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _array(name, [row.get(name) for row in rows]) for name in names})


def _array(name: str, values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except pa.ArrowException as error:
        raise ValueError(f"column {name!r} holds values of several types: {error}") from error


_READ = {".csv": _csv, ".jsonl": _jsonl}
