"""Reading of CSV, TSV, JSONL and text by bytes, with the end and the error of each record."""

import csv
import io
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from pipelines.sources.arrow_rows import Row
from pipelines.sources.columns import column_of
from pipelines.sources.listing import Unit, json_object
from pipelines.sources.lists.url_shapes import USUAL, shape_of, shapes_of
from pipelines.sources.names import shown
from schemas.source_config import Column, Columns
from schemas.store.storage import CorpusError

# Longer lines are skipped: no list has them, and memory must be bounded.
MAX_LINE_BYTES = 16_000_000
BUFFER_BYTES = 1_000_000
MAX_CELL_CHARS = 131_072
# A quote that is not closed within this number of bytes counts as a stray quote.
MAX_QUOTED_BYTES = 1_000_000
csv.field_size_limit(MAX_QUOTED_BYTES)  # of the process; the end of longer cells must be found
# Number of bytes after the header to learn the shape of URLs from.
LOOKED_BYTES = 250_000

_STRAY = "a quote that wraps no cell"
_LONG = f"a cell of more than {MAX_CELL_CHARS:,} characters"


@dataclass(frozen=True, slots=True)
class Line:
    """A line as text, with its line end."""

    text: str
    size: int  # bytes
    fault: str = ""  # its error


@dataclass(slots=True)
class Lines:
    """Lines of a binary file from `position` on; no record begins at `end` or later."""

    file: io.BufferedReader
    position: int = 0  # byte where the next line begins
    end: float = float("inf")
    _again: deque[Line] = field(default_factory=deque)

    def start(self) -> Line | None:
        """Take the first line of a record, None after the last record."""
        return self.take() if self.position < self.end else None

    def take(self) -> Line | None:
        """Take a line, also past `end`; None at the end of the file."""
        line = self._again.popleft() if self._again else self._read()
        self.position += line.size if line else 0
        return line

    def back(self, lines: Sequence[Line]) -> None:
        """Put the last lines back, to be taken again."""
        self._again.extendleft(reversed(lines))
        self.position -= sum(line.size for line in lines)

    def _read(self) -> Line | None:
        line = self.file.readline(MAX_LINE_BYTES)
        if not line:
            return None
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            fault = f"a line of more than {MAX_LINE_BYTES:,} bytes: {line[:100]!r}"
            return Line("", len(line) + self._skip_line(), fault)
        encoding = "utf-8" if self.position else "utf-8-sig"
        fault = "a NUL byte" if b"\0" in line else ""
        try:
            return Line(line.decode(encoding), len(line), fault)
        except UnicodeDecodeError as error:
            return Line(line.decode(encoding, "replace"), len(line), str(error))

    def _skip_line(self) -> int:
        skipped = 0
        while more := self.file.readline(MAX_LINE_BYTES):
            skipped += len(more)
            if more.endswith(b"\n"):
                break
        return skipped


@dataclass(frozen=True, slots=True)
class Dialect:
    """The format of cells in a line."""

    delimiter: str
    quotes: bool  # True: quotes wrap cells, as in RFC 4180; False: a quote is a character


@dataclass(frozen=True, kw_only=True)
class Header:
    """The columns of a CSV or TSV."""

    names: Sequence[Column]  # numbers if the file has no header
    url: Any  # number of the URL column, None if there is none
    learn: Callable[["Header"], Collection[str]]  # returns the shapes of the file's URLs

    @cached_property
    def shapes(self) -> Collection[str]:
        """The shapes of the file's URLs; reads the file at the first use."""
        return self.learn(self)


def csv_records(
    lines: Lines, dialect: Dialect, header: Header | None = None
) -> Iterator[list[str] | str]:
    """Yield the cells of each record, an error text for a malformed one; skip blank lines.

    A quoted cell may contain line ends. A quote that is never closed must not swallow the following
    rows. So a record of several lines is rejected if it does not end by RFC 4180 within
    MAX_QUOTED_BYTES, or if most of its lines are rows themselves, with URLs like the file's others.
    Then only its first line is malformed, and the next record begins with its second line.
    """
    while (line := lines.start()) is not None:
        if line.fault or line.text.strip(" \r\n"):
            yield _record(line, lines, dialect, header)


def _record(line: Line, lines: Lines, dialect: Dialect, header: Header | None) -> list[str] | str:
    if not dialect.quotes or '"' not in line.text:
        return _unquoted(line, dialect)
    taken: list[Line] = []
    try:
        feed = _feed(line, lines, taken)
        cells = next(csv.reader(feed, delimiter=dialect.delimiter, strict=True))
        why = "its lines are rows" if header and _swallows(line, taken, dialect, header) else ""
    except csv.Error as error:
        cells, why = [], str(error)
    if why:
        lines.back(taken)
        fault = line.fault or _quote_fault(why)
        return f"{fault}: {line.text!r:.200}"
    fault = next((each.fault for each in (line, *taken) if each.fault), "")
    if not fault and any(len(cell) > MAX_CELL_CHARS for cell in cells):
        fault = _LONG
    return f"{fault}: {line.text[:100]!r}" if fault is _LONG else _either(fault, cells)


def _either(fault: str, cells: list[str]) -> list[str] | str:
    return f"{fault}: {cells!r:.200}" if fault else cells


def _quote_fault(why: str) -> str:
    if "field limit" in why:
        return _LONG
    why = why.replace("unexpected end of data", "it is not closed")
    return f"{_STRAY} ({why}); if quotes are characters here, set quoting: none"


def _unquoted(line: Line, dialect: Dialect) -> list[str] | str:
    text = line.text.removesuffix("\n").removesuffix("\r")
    fault = line.fault or ("a carriage return inside a row" if "\r" in text else "")
    if not fault and len(text) > MAX_CELL_CHARS:
        fault = f"a row of {len(text):,} characters"
    return f"{fault}: {text!r:.200}" if fault else text.split(dialect.delimiter)


def _feed(line: Line, lines: Lines, taken: list[Line]) -> Iterator[str]:
    held = line.size
    yield line.text
    while held < MAX_QUOTED_BYTES and (more := lines.take()) is not None:
        held += more.size
        taken.append(more)
        yield more.text


def _swallows(line: Line, taken: Sequence[Line], dialect: Dialect, header: Header) -> bool:
    """Return whether a record of several lines contains other rows."""
    after = [each for each in taken if each.text.strip()]
    if not after or header.url is None:
        return False
    if not _is_row(line, dialect, header):
        # Its URL may come after the text, in the last line, which then always looks like a row.
        after = after[:-1]
    return 2 * sum(_is_row(each, dialect, header) for each in after) > len(after)


def _is_row(line: Line, dialect: Dialect, header: Header) -> bool:
    """Return whether a line is a row: it has enough cells, and a URL like the file's others."""
    cells = [cell.strip('"\r\n') for cell in line.text.split(dialect.delimiter)]
    if len(cells) < len(header.names):
        return False
    # Delimiters inside the text shift the later cells, so the URL is also counted from the end.
    places = (header.url, header.url - len(header.names))
    return any(shape_of(cells[place]) in header.shapes for place in places)


def _learned(header: Header, file: io.BufferedReader, start: int, dialect: Dialect) -> Any:
    """Learn the shapes of URLs, from records of one line if there are any.

    Records begin at byte `start`. The position of the file is not changed.
    """
    found_at = file.tell()
    file.seek(start)
    single: list[str] = []
    several: list[str] = []
    for cells in csv_records(Lines(file, start, start + LOOKED_BYTES), dialect):
        if isinstance(cells, list) and len(cells) == len(header.names):
            wraps = any("\n" in cell for cell in cells)
            (several if wraps else single).append(cells[header.url])
    file.seek(found_at)
    return shapes_of(single or several) or USUAL


def read_header(lines: Lines, dialect: Dialect, columns: Columns, url: str) -> Header | None:
    """Return the columns of a file, None if it is empty; consume the header, if there is one.

    Spaces around names are removed, unless the recipe's name has them too.

    Raises:
        CorpusError: the first record is malformed, or a column to read occurs twice.
    """
    taken_from = lines.position
    first = next(csv_records(lines, dialect), None)
    if first is None:
        return None
    if isinstance(first, str):
        raise CorpusError(f"{url}: its first row cannot be read: {first}")
    if columns.are_numbers:
        lines.file.seek(taken_from)
        lines.position = taken_from
        at = columns.mapped().get("url")
        url_at = at if at in range(len(first)) else None
        names: Sequence[Column] = range(len(first))
        learn = partial(_learned, file=lines.file, start=taken_from, dialect=dialect)
        return Header(names=names, url=url_at, learn=learn)
    wanted = columns.mapped()
    names = [name if name in wanted.values() else name.strip() for name in first]
    read = {field: column_of(path, names) for field, path in wanted.items()}
    if twice := sorted({name for name in read.values() if name and names.count(name) > 1}):
        raise CorpusError(f"{url}: more than one column is named {', '.join(twice)}")
    url_at = names.index(read["url"]) if read.get("url") else None
    learn = partial(_learned, file=lines.file, start=lines.position, dialect=dialect)
    return Header(names=names, url=url_at, learn=learn)


def dialect_of(file: io.BufferedReader, kind: str, quoting: str) -> Dialect:
    """Return the dialect of a CSV or TSV; `auto` uses quotes in a TSV if its header has them."""
    if kind == "csv":
        return Dialect(",", quoting != "none")
    quoted = file.peek(4)[:4].removeprefix(b"\xef\xbb\xbf").startswith(b'"')
    return Dialect("\t", quoting == "quotes" or (quoting == "auto" and quoted))


def csv_rows(file: Any, unit: Unit, kind: str, columns: Columns, quoting: str) -> Iterator[Row]:
    """Read the rows of a unit like `csv.DictReader`.

    A row with more cells than columns, or without a cell for a column to read, is malformed.
    """
    buffered = io.BufferedReader(file, BUFFER_BYTES)
    dialect = dialect_of(buffered, kind, quoting)
    header = read_header(Lines(buffered), dialect, columns, shown(unit.path))
    if header is None:
        return
    names = list(header.names)
    read = [column_of(path, names) for path in columns.mapped().values()]
    least = max((names.index(name) + 1 for name in read if name is not None), default=0)
    buffered.seek(unit.start)
    for cells in csv_records(Lines(buffered, unit.start, unit.end), dialect, header):
        if isinstance(cells, str):
            yield cells
        elif not least <= len(cells) <= len(names):
            yield f"{len(cells)} cells under {len(names)} columns: {cells!r:.200}"
        else:
            yield dict(zip(names, cells, strict=False))


def text_lines(lines: Lines) -> Iterator[Line]:
    """Yield the lines that are not blank."""
    while (line := lines.start()) is not None:
        if line.fault or line.text.strip():
            yield line


def jsonl_rows(file: Any, unit: Unit) -> Iterator[Row]:
    """Read the objects of a unit."""
    for line in text_lines(_lines_of(file, unit)):
        try:
            yield f"{line.fault}: {line.text!r:.200}" if line.fault else json_object(line.text)
        except ValueError as error:
            yield str(error)


def is_comment(line: Line) -> bool:
    """Return whether a line of a text list is a comment."""
    return line.text.startswith("#")


def txt_rows(file: Any, unit: Unit, columns: Columns) -> Iterator[Row]:
    """Read the URLs of a unit, one per line."""
    for line in text_lines(_lines_of(file, unit)):
        if line.fault:
            yield f"{line.fault}: {line.text!r:.200}"
        elif not is_comment(line):
            yield {columns.url: line.text.strip()}


def _lines_of(file: Any, unit: Unit) -> Lines:
    buffered = io.BufferedReader(file, BUFFER_BYTES)
    buffered.seek(unit.start)
    return Lines(buffered, unit.start, unit.end)
