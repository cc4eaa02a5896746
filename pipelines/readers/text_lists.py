"""CSV, TSV and JSONL, read by bytes: where each record ends, and what is wrong with it."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.readers.listing import Unit, json_object
from pipelines.storage import CorpusError

# A longer line is skipped: no list has one, and memory must not depend on the input.
MAX_LINE_BYTES = 16_000_000
BUFFER_BYTES = 1_000_000

Row = dict[str, Any] | str  # a string says why the row is malformed


@dataclass(slots=True)
class Lines:
    """Lines of a binary file as text, from `position` up to `end`.

    What is wrong with a line is left in `fault`, for whoever knows where its record ends.
    """

    file: io.BufferedReader
    position: int = 0  # byte where the next line begins
    end: float = float("inf")
    fault: str = ""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.file.readline(MAX_LINE_BYTES) if self.position < self.end else b""
        if not line:
            raise StopIteration
        encoding = "utf-8" if self.position else "utf-8-sig"
        self.position += len(line)
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            self._skip_line()
            self.fault = f"a line of more than {MAX_LINE_BYTES:,} bytes: {line[:100]!r}"
            return ""
        if b"\0" in line:
            self.fault = "a NUL byte"
        try:
            return line.decode(encoding)
        except UnicodeDecodeError as error:
            self.fault = str(error)
            return line.decode(encoding, "replace")

    def _skip_line(self) -> None:
        while more := self.file.readline(MAX_LINE_BYTES):
            self.position += len(more)
            if more.endswith(b"\n"):
                return

    def take_fault(self) -> str:
        """Return the fault of the lines read since the last call, '' if there is none."""
        fault, self.fault = self.fault, ""
        return fault


def csv_records(lines: Lines, delimiter: str) -> Iterator[list[str] | str]:
    """Yield the cells of each record; go on after one that is malformed; skip empty lines."""
    records = csv.reader(lines, delimiter=delimiter)
    while True:
        try:
            cells = next(records, None)
        except csv.Error as error:  # a cell over 128 KiB, a bare carriage return
            yield lines.take_fault() or str(error)
            continue
        if cells is None:
            return
        if fault := lines.take_fault():
            yield f"{fault}: {cells!r:.200}"
        elif cells:
            yield cells


def read_header(lines: Lines, delimiter: str, url: str) -> list[str]:
    """Return the names of the columns, [] in an empty file.

    Raises:
        CorpusError: if the first record is malformed.
    """
    header = next(csv_records(lines, delimiter), [])
    if isinstance(header, str):
        raise CorpusError(f"{url}: its header cannot be read: {header}")
    return header


def csv_rows(file: Any, unit: Unit, delimiter: str) -> Iterator[Row]:
    """Read the rows of a unit as `csv.DictReader` would; one with too many cells is malformed."""
    buffered = io.BufferedReader(file, BUFFER_BYTES)
    header = read_header(Lines(buffered), delimiter, unit.path)
    buffered.seek(unit.start)
    for cells in csv_records(Lines(buffered, unit.start, unit.end), delimiter):
        if isinstance(cells, str):
            yield cells
        elif len(cells) > len(header):
            yield f"{len(cells)} cells under {len(header)} columns: {cells!r:.200}"
        else:
            yield dict(zip(header, cells, strict=False))


def json_lines(lines: Lines) -> Iterator[tuple[str, str]]:
    """Yield (line, fault); skip empty lines."""
    for line in lines:
        fault = lines.take_fault()
        if fault or line.strip():
            yield line, fault


def jsonl_rows(file: Any, unit: Unit) -> Iterator[Row]:
    """Read the objects of a unit."""
    buffered = io.BufferedReader(file, BUFFER_BYTES)
    buffered.seek(unit.start)
    for line, fault in json_lines(Lines(buffered, unit.start, unit.end)):
        try:
            yield f"{fault}: {line!r:.200}" if fault else json_object(line)
        except ValueError as error:
            yield str(error)
