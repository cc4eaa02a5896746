"""Formats of lists; a list that cannot be read from the middle is unpacked into the corpus."""

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.sources.arrow_rows import require_sound
from pipelines.sources.columns import roots
from pipelines.sources.compressed import MAGIC_BYTES, compression, decompressed, without_suffix
from pipelines.sources.files import SourceFile
from pipelines.sources.lists.json_arrays import array_items, json_values
from pipelines.sources.names import shown
from schemas.fingerprint import fingerprint
from schemas.source_config import Columns
from schemas.store.storage import CorpusError, Storage

# Suffix -> format.
FORMATS: Mapping[str, str] = {
    "csv": "csv",
    "tsv": "tsv",
    "txt": "txt",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "json": "json",
    "parquet": "parquet",
    "arrow": "arrow",
    "feather": "arrow",
    "ipc": "arrow",
}
READ = f"{', '.join(f'.{suffix}' for suffix in FORMATS)}, also compressed (.gz, .zst, .bz2, .xz)"
HEAD_BYTES = 1 << 16
COPY_BYTES = 1 << 20
_WIDE = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16"}
_WIDE |= {b"\xfe\xff": "utf-16"}  # after utf-32, whose mark begins with utf-16's


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainList:
    """A list whose rows can be read from the middle."""

    fs: Any
    path: str  # on `fs`
    url: str
    name: str  # of the original file
    origin: str  # the original file, for messages
    format: str  # csv, tsv, txt, jsonl or parquet
    unpacked: str = ""  # path of the unpacked list in the corpus, '' if it was not unpacked


def list_format(name: str) -> str:
    """Return a list's format by its suffix; '' for a file that is no list."""
    base = name.rsplit("/", 1)[-1]
    if base.startswith("._"):  # a file of macOS
        return ""
    suffix = without_suffix(base).rsplit(".", 1)[-1].lower()
    return FORMATS.get(suffix, "")


def plain_list(
    file: SourceFile, source: str, store: Storage, columns: Columns | None = None
) -> PlainList:
    """Return a list that can be read from the middle; unpack it if necessary.

    It unpacks compressed files, JSON arrays, Arrow files, text in UTF-16 or -32, and text with
    carriage returns as line ends. That needs a copy in the corpus; memory is bounded. Arrow columns
    that are not in `columns` keep their names, but not their values.

    Raises:
        CorpusError: the list is damaged, or does not have the format of its suffix.
    """
    kind = list_format(file.name)
    with _read(file) as stream:
        head = stream.read(HEAD_BYTES)
        with file.fs.open(file.path, "rb") as raw:
            packed = bool(compression(raw.read(MAGIC_BYTES)))
    kind, convert = _conversion(kind, head, shown(file.url), columns)
    if not packed and convert is None:
        return PlainList(
            fs=file.fs,
            path=file.path,
            url=file.url,
            name=file.name,
            origin=shown(file.url),
            format=kind,
        )
    name = fingerprint(file.url, file.version)[:16]
    unpacked = f"sources/unpacked-{source}-{name}.{kind}"
    with store.scratch() as scratch:
        local = scratch / "unpacked"
        with _read(file) as stream, _faults_of(shown(file.url)):
            (convert or _copy)(stream, local)
        store.commit_file(unpacked, local)
    fs, path = store.locate(unpacked)
    url = fs.unstrip_protocol(path)
    return PlainList(
        fs=fs,
        path=path,
        url=url,
        name=file.name,
        origin=shown(file.url),
        format=kind,
        unpacked=unpacked,
    )


@contextmanager
def _read(file: SourceFile) -> Iterator[BinaryIO]:
    with (
        file.fs.open(file.path, "rb") as raw,
        decompressed(raw, shown(file.url), file.size) as stream,
    ):
        yield stream


@contextmanager
def _faults_of(url: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, pa.ArrowException, OSError) as error:
        if isinstance(error, CorpusError) or getattr(error, "errno", None) is not None:
            raise
        raise CorpusError(f"{url}: {error}") from error


def _conversion(kind: str, head: bytes, url: str, columns: Columns | None) -> tuple[str, Any]:
    """Return the format to read, and a conversion to it; None if none is necessary."""
    if kind == "parquet":
        return kind, None
    if kind == "arrow":
        return "parquet", partial(_arrow_to_parquet, columns=columns)
    wide = next((name for mark, name in _WIDE.items() if head.startswith(mark)), "")
    if not wide and b"\0" in head[:4]:
        raise CorpusError(f"{url}: not text in UTF-8: its first bytes are {head[:8]!r}")
    text = head.decode(wide or "utf-8-sig", "replace")
    if kind == "json" and text.lstrip()[:1] == "{":
        first = text.lstrip().split("\n", 1)[0]
        if "\n" in text.lstrip() and not re.search(r"}\s*$", first):
            return "jsonl", _Text(wide, to_lines=json_values)
        kind = "jsonl"
    if kind == "json" and text.strip() and text.lstrip()[0] != "[":
        raise CorpusError(f"{url}: no JSON array of rows: it begins {text[:40]!r}")
    if kind in ("json", "jsonl") and text.lstrip()[:1] == "[":
        return "jsonl", _Text(wide, to_lines=array_items)
    lone = text.count("\r") - text.count("\r\n")
    carriage = lone > text.count("\n") and "\r" in text.split("\n", 1)[0].rstrip("\r")
    kind = "jsonl" if kind == "json" else kind
    return kind, _Text(wide, carriage=carriage) if wide or carriage else None


@dataclass(frozen=True, slots=True)
class _Text:
    """Rewrites text as lines of UTF-8."""

    encoding: str
    carriage: bool = False  # most lines end in carriage returns
    to_lines: Callable[[Any], Iterator[str]] | None = None  # yields the rows of JSON

    def __call__(self, stream: BinaryIO, local: Path) -> None:
        raw = cast(Any, io.BufferedReader(_Raw(stream), COPY_BYTES))
        encoding = self.encoding or "utf-8-sig"
        # Invalid UTF-8 is kept, so that the rows report it.
        errors = "strict" if self.encoding else "surrogateescape"
        text = io.TextIOWrapper(
            raw, encoding=encoding, errors=errors, newline=None if self.carriage else ""
        )
        with open(local, "w", encoding="utf-8", errors=errors, newline="") as file:
            if self.to_lines:
                for item in self.to_lines(text):
                    file.write(re.sub(r"[\r\n]", " ", item) + "\n")
                return
            while part := text.read(COPY_BYTES):
                file.write(part)


class _Raw(io.RawIOBase):
    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _copy(stream: BinaryIO, local: Path) -> None:
    with open(local, "wb") as file:
        while data := stream.read(COPY_BYTES):
            file.write(data)


def _arrow_to_parquet(stream: BinaryIO, local: Path, columns: Columns | None) -> None:
    """Convert an Arrow file or stream to Parquet, batch by batch."""
    held = local.with_suffix(".arrow")
    _copy(stream, held)
    with pa.OSFile(str(held), "rb") as file:  # a damaged memory map would kill the process
        of_file = file.read(6) == b"ARROW1"
        file.seek(0)
        batches: Any
        if of_file:
            reader = pa.ipc.open_file(file)
            batches = (reader.get_batch(n) for n in range(reader.num_record_batches))
        else:
            reader = pa.ipc.open_stream(file)
            batches = iter(reader)
        schema = _read_of(reader.schema, columns)
        with pq.ParquetWriter(local, schema) as writer:
            for batch in batches:
                # Parquet lacks some types; columns that are not read must not cause an error.
                arrays = [
                    pa.nulls(batch.num_rows) if pa.types.is_null(each.type) else array
                    for each, array in zip(schema, batch.columns, strict=True)
                ]
                batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
                require_sound(batch)
                writer.write_batch(batch)
    held.unlink()


def _read_of(schema: pa.Schema, columns: Columns | None) -> pa.Schema:
    """Return the schema with the null type for each column that is not read."""
    read = set(schema.names if columns is None else roots(columns, schema.names))
    return pa.schema(
        [each if each.name in read else pa.field(each.name, pa.null()) for each in schema]
    )
