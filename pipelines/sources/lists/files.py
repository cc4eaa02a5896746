"""Reading of lists in any format, cut into parts that never share a row."""

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pipelines.runtime.console import CONSOLE
from pipelines.runtime.sidecar import Reject
from pipelines.sources.arrow_rows import Row
from pipelines.sources.columns import (
    MAX_NAMES,
    FoundColumns,
    fields_in,
    found_in,
    keys_of,
    require_columns,
    without_captions,
)
from pipelines.sources.files import SourceFile, find_files
from pipelines.sources.listing import (
    MALFORMED,
    Listed,
    SourcePlan,
    Unit,
    json_object,
    listed_from,
)
from pipelines.sources.lists.formats import READ, PlainList, list_format, plain_list
from pipelines.sources.lists.parquet import found_in_schema, open_parquet, parquet_rows, rows_in
from pipelines.sources.lists.text import (
    BUFFER_BYTES,
    Line,
    Lines,
    csv_records,
    csv_rows,
    dialect_of,
    is_comment,
    jsonl_rows,
    read_header,
    text_lines,
    txt_rows,
)
from pipelines.sources.names import as_other
from pipelines.sources.roles import Roles
from schemas.source_config import Columns, FolderSource, ListSource
from schemas.store.retries import open_fs
from schemas.store.storage import CorpusError, Storage
from schemas.subsets import DEFAULT_SUBSET

SHOWN_FILES = 5

Part = tuple[int, int, int, int]  # start, end, number of the first row, rows


def plan_lists(
    source: ListSource | FolderSource, path: str, rows_per_shard: int, store: Storage
) -> SourcePlan:
    """Cut the files of a path or glob into units of `rows_per_shard` rows, in order of names.

    It reads text files once, and the footers of Parquet files.

    Args:
        source: settings for reading the lists.
        path: of the lists.
        rows_per_shard: rows per unit.
        store: the corpus; lists that cannot be read from the middle are unpacked into it.

    Raises:
        CorpusError: there is no file, no file is a list, a list is damaged, or a column is missing.
    """
    matched = find_files(path, source.links)
    files = matched.files
    lists = [file for file in files if list_format(file.name)]
    if not lists:
        shown = ", ".join(file.name for file in files[:SHOWN_FILES])
        raise CorpusError(f"{path}: {shown}: expected a list in {READ}")
    passed_over = Counter(matched.passed_over)
    passed_over.update(as_other(file.name) for file in files if not list_format(file.name))
    plains = [plain_list(file, source.name, store, source.columns) for file in lists]
    cuts = [_cut_file(plain, rows_per_shard, source) for plain in plains]
    only_txt = all(plain.format == "txt" for plain in plains)
    if only_txt and source.columns.explicit().keys() <= {"url"}:
        CONSOLE.warning(without_captions(f"source {source.name}: a .txt list has no captions"))
    else:
        require_columns(source.name, source.columns, [cut.found for cut in cuts if cut.found])
    passed_over["comment in a .txt list"] = sum(cut.comments for cut in cuts)
    return SourcePlan(
        units=[
            unit
            for file, plain, cut in zip(lists, plains, cuts, strict=True)
            for unit in _units(source, file, plain, cut.parts)
        ],
        passed_over={what: count for what, count in sorted(passed_over.items()) if count},
        files=[plain.unpacked for plain in plains if plain.unpacked],
    )


def _units(
    source: ListSource | FolderSource, file: SourceFile, plain: PlainList, parts: Iterable[Part]
) -> list[Unit]:
    expands = source.columns.expands  # how many samples there are is known when they are read
    return [
        Unit(
            source=source.name,
            path=plain.url,
            name=file.name,
            version=file.version,
            start=start,
            end=end,
            first_row=row,
            rows=None if expands else rows,
        )
        for start, end, row, rows in parts
    ]


def read_list(unit: Unit, source: ListSource | FolderSource) -> Iterator[Listed | Reject]:
    """Read the samples of one unit of a list; a row that cannot be parsed gives a reject."""
    columns = source.columns
    roles = None if source.subset == DEFAULT_SUBSET else Roles(source=source, main=columns.url)
    for id_, row in read_rows(unit, columns, source.quoting):
        if isinstance(row, Reject):
            yield row
        elif roles:
            yield from roles.samples(id_, row)
        else:
            yield listed_from(id_, row, columns)


def read_rows(
    unit: Unit, columns: Columns, quoting: str = "auto"
) -> Iterator[tuple[str, dict[Any, Any] | Reject]]:
    """Read (id, row) of one unit: of Parquet the mapped columns, of other lists all columns.

    Ids count rows from 1, without header, blank lines and comments.
    """
    fs, path = open_fs(unit.path)
    kind = list_format(path)
    with fs.open(path, "rb") as file:
        if kind == "parquet":
            found: Iterator[Row] = parquet_rows(file, unit, columns)
        elif kind in ("csv", "tsv"):
            found = csv_rows(file, unit, kind, columns, quoting)
        elif kind == "txt":
            found = txt_rows(file, unit, columns)
        else:
            found = jsonl_rows(file, unit)
        for number, row in enumerate(found, unit.first_row):
            id_ = f"{unit.name} row {number + 1}"
            if isinstance(row, str):
                yield id_, Reject(id=id_, reason=MALFORMED, detail=row)
            else:
                yield id_, row


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    """The parts of a list file, and its columns."""

    parts: Sequence[Part] = ()
    found: FoundColumns | None = None  # None if it has no rows
    comments: int = 0


def _cut_file(plain: PlainList, rows_per_shard: int, source: ListSource | FolderSource) -> _Cut:
    columns = source.columns
    with plain.fs.open(plain.path, "rb") as file:
        if plain.format == "parquet":
            parquet = open_parquet(file, plain.origin)
            found = found_in_schema(plain.origin, parquet.schema_arrow, columns)
            return _Cut(parts=_even(rows_in(parquet), rows_per_shard), found=found)
        buffered = io.BufferedReader(file, BUFFER_BYTES)
        lines = Lines(buffered)
        if plain.format == "txt":
            comments: list[str] = []
            parts = _cut(_without(comments, text_lines(lines)), lines, rows_per_shard)
            # Lines of URLs have no header; their only column is the URL.
            found = FoundColumns(file=plain.origin, names=[columns.url], fields={"url"})
            return _Cut(parts=parts, found=found if parts else None, comments=len(comments))
        if plain.format == "jsonl":
            keys = _Keys(plain.origin, columns)
            parts = _cut(map(keys.look, text_lines(lines)), lines, rows_per_shard)
            return _Cut(parts=parts, found=keys.found())
        dialect = dialect_of(buffered, plain.format, source.quoting)
        header = read_header(lines, dialect, columns, plain.origin)
        if header is None:
            return _Cut()
        parts = _cut(csv_records(lines, dialect, header), lines, rows_per_shard)
        return _Cut(parts=parts, found=found_in(plain.origin, header.names, columns))


def _even(rows: int, rows_per_shard: int) -> list[Part]:
    bounds = [(n, min(n + rows_per_shard, rows)) for n in range(0, rows, rows_per_shard)]
    return [(start, end, start, end - start) for start, end in bounds]


def _cut(records: Iterator[Any], lines: Lines, rows_per_shard: int) -> list[Part]:
    """Return the parts of a text list; `records` are the remaining records of `lines`."""
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


def _without(comments: list[str], lines: Iterator[Line]) -> Iterator[Line]:
    """Yield the lines that are no comments; count the comments in `comments`."""
    for line in lines:
        if is_comment(line):
            comments.append("")
        else:
            yield line


class _Keys:
    """The keys of JSON rows; rows are parsed until each required column was seen."""

    def __init__(self, url: str, columns: Columns) -> None:
        self.url, self.columns = url, columns
        self.names: dict[str, None] = {}
        self.fields: set[str] = set()
        self.rows = 0

    def look(self, line: Line) -> Line:
        if not line.fault and self._is_wanting():
            with suppress(ValueError):
                self._see(json_object(line.text))
        return line

    def found(self) -> FoundColumns | None:
        """Return the columns that were seen, None if there was no row."""
        if not self.rows:
            return None
        return FoundColumns(file=self.url, names=list(self.names), fields=self.fields)

    def _see(self, row: dict[str, Any]) -> None:
        self.rows += 1
        if len(self.names) < MAX_NAMES:
            self.names |= dict.fromkeys(keys_of(row, self.columns))
        self.fields |= fields_in(row, self.columns)

    def _is_wanting(self) -> bool:
        always = {"url"} if self.columns.expects_url else set[str]()
        needed = {*always, *self.columns.explicit()} & self.columns.mapped().keys()
        texts = not self.columns.expects_text or self.fields & {"text", "title"}
        return not (needed <= self.fields and texts)
