"""The types that all sources share: units of work, listed rows, and readers."""

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Protocol, cast

import pyarrow as pa

from pipelines.runtime.sidecar import Reject
from pipelines.sources.columns import ABSENT, as_text, check_depth, look_up, mapped
from pipelines.sources.conversations import Turn, turns_of
from pipelines.sources.raw_shard import ImageStore
from schemas.source_config import Columns, TextOf
from schemas.store.storage import Storage

# Suffixes of images; such a file is always a row, even if it cannot be decoded.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".pjpeg", ".pjp", ".mpo"),
    *(".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".avif", ".avifs"),
    *(".heic", ".heics", ".heif", ".heifs", ".hif", ".jxl", ".jxr", ".wdp", ".hdp"),
    *(".jp2", ".j2k", ".jpf", ".jpx", ".jpm", ".j2c", ".jpc", ".jph", ".jls"),
    *(".ico", ".cur", ".icns", ".psd", ".psb", ".xcf", ".tga", ".pcx", ".dds", ".sgi", ".qoi"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".pfm", ".exr", ".hdr", ".bpg", ".flif"),
    *(".raw", ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf"),
    *(".rw2", ".raf", ".pef", ".srw", ".x3f", ".3fr", ".erf", ".kdc", ".dcr", ".mrw", ".iiq"),
)
TEXT_SUFFIXES = (".txt", ".json")
MAX_TEXT_BYTES = 1_000_000  # of a text file beside an image
# Rows of a list whose bytes, syntax or types are broken.
MALFORMED = "malformed_row"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A part of a source that becomes one shard."""

    source: str  # name in the recipe
    path: str  # file of the unit
    name: str = ""  # of this file in the source; part of the ids of its rows
    version: str  # of this file
    start: int  # begin: a byte of a text list, else a row
    end: int  # end, exclusive
    first_row: int = 0  # number of the first row in the file
    rows: int | None = None  # number of rows; None if unknown before reading
    part: int = 0  # file number in a dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePlan:
    """A source cut into units, and counts of files that are no rows."""

    units: Sequence[Unit]
    passed_over: Mapping[str, int] = field(default_factory=dict)  # kind of file -> count
    files: Sequence[str] = ()  # written into the corpus for the units to read


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOver:
    """Something in a unit that is no row: counted, and reported at the end."""

    what: str  # ".svg file", "link to a folder"
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedImage:
    """A further image of a sample."""

    role: str  # source (to edit) or rejected
    url: str
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A sample as listed, before the bytes of its images are known."""

    id: str  # file and row number, for rejects
    url: str  # URL, or path inside the source; may be invalid UTF-8 until it is checked
    place: str = ""  # place of the bytes, for the source's reader; '' for a URL
    text: str = ""
    title: str = ""
    tags: tuple[str, ...] = ()
    licence: str = ""
    author: str = ""
    images: tuple[ListedImage, ...] = ()
    turns: tuple[Turn, ...] = ()
    edit_type: str = ""
    scores: tuple[float, ...] = ()  # of the chosen and the rejected image
    origin: str = ""  # what samples share that must not be in two splits
    listed: str = "{}"  # the columns that the recipe keeps, a JSON object


class Reader(Protocol):
    """Reads one kind of source. Units are read independently, in any order."""

    def version(self) -> str:
        """Return a text that changes with the source's files; cheaper than `plan`."""
        ...

    def plan(self, rows_per_shard: int, store: Storage) -> SourcePlan:
        """Cut the source into units; the same input gives the same units."""
        ...

    def rows(self, unit: Unit) -> Iterator[Listed | Reject | PassedOver]:
        """Yield a unit's rows in the order of the file, and the things that are passed over."""
        ...

    def acquire(self, unit: Unit, rows: pa.Table, raw: ImageStore) -> None:
        """Store, reference or reject the bytes of each listed row (schema SOURCES)."""
        ...


def listed_from(
    id_: str, row: Mapping[Any, Any], columns: Columns, *, place: str = ""
) -> Listed | Reject:
    """Convert a row of any list to `Listed`; missing and null values become ''."""
    try:
        check_depth(row)
        found = {field: look_up(row, path) for field, path in mapped(columns).items()}
        return Listed(
            id=id_,
            url=_url(found.get("url"), columns),
            place=place,
            text=as_text(found.get("text"), columns, "text"),
            title=as_text(found.get("title"), columns, "title"),
            tags=_tags(found.get("tags"), columns),
            licence=_licence(found.get("licence"), columns),
            author=as_text(found.get("author"), columns, "author"),
            turns=_turns(found, columns),
            listed=_kept(row, columns.keep),
        )
    except ValueError as error:
        return Reject(id=id_, reason=MALFORMED, detail=storable(str(error)))


def with_texts(
    row: Listed, texts: Iterable[tuple[str, bytes]], columns: Columns, *, text: TextOf = "whole"
) -> Listed | Reject:
    """Add the values of the .txt and .json files beside an image; .txt and row.url have precedence.

    Args:
        row: only id, url and place are kept.
        texts: (file name, contents up to one byte over MAX_TEXT_BYTES).
        columns: keys of the .json.
        text: which part of a .txt is used.
    """
    prompt, data = "", {}
    for name, body in texts:
        try:
            if len(body) > MAX_TEXT_BYTES:
                raise ValueError(f"over {MAX_TEXT_BYTES:,} bytes")
            if name.lower().endswith(".txt"):
                prompt = as_text(_part(body.decode("utf-8-sig"), text))
            else:
                data = json_object(body.decode("utf-8-sig"))
        except ValueError as error:
            return Reject(id=row.id, reason="malformed_text", detail=storable(f"{name}: {error}"))
    if not data:
        return replace(row, text=prompt)
    columns = json_columns(data, columns)
    if prompt:
        columns = columns.model_copy(update={"text": ""})
    read = listed_from(row.id, data, columns, place=row.place)
    if isinstance(read, Reject):
        return replace(read, reason="malformed_text")
    return replace(read, url=row.url or read.url, text=prompt or read.text)


def json_columns(row: Mapping[str, Any], columns: Columns) -> Columns:
    """Return the keys of the .json beside an image: `text` and `caption` mean the same.

    If the recipe names no key and the .json lacks the default, the other one is read.
    """
    if "text" in columns.explicit():
        return columns
    other = "caption" if columns.text == "text" else "text"
    hashable = cast(Hashable, columns)  # a frozen model is hashable
    return _with_text(hashable, other) if columns.text not in row and other in row else columns


@lru_cache(maxsize=16)
def _with_text(columns: Any, key: str) -> Columns:
    return columns.model_copy(update={"text": key})


def _part(body: str, text: TextOf) -> str:
    """Return the text of a .txt: all of it, or its first line that is not blank."""
    return body if text == "whole" else next(filter(str.strip, body.splitlines()), "")


def json_object(text: str) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        ValueError: the text is no JSON object; the message shows its beginning.
    """
    try:
        data = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"nested too deeply: {text!r:.200}") from error
    except ValueError as error:
        raise ValueError(f"not JSON ({error}): {text!r:.200}") from error
    if not isinstance(data, dict):
        raise ValueError(f"expected a JSON object: {text!r:.200}")
    return data


def storable(text: str) -> str:
    r"""Escape characters that UTF-8 cannot encode, such as invalid bytes of a file name.

    >>> storable("caf\udce9.jpg")
    'caf\\udce9.jpg'
    """
    return text.encode("utf-8", "backslashreplace").decode()


def is_storable(text: str) -> bool:
    """Return whether UTF-8 can encode a text; it cannot if there are lone surrogates."""
    return storable(text) == text


def _licence(value: Any, columns: Columns) -> str:
    """Return a licence; of a list all of them, because each may restrict."""
    items = value if isinstance(value, list | tuple) else [value]
    return ", ".join(filter(None, (as_text(item, columns, "licence") for item in items)))


def _url(value: Any, columns: Columns) -> str:
    """Read a URL or path, which may contain invalid bytes of a file name."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape").strip()
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list | tuple) and value:
        raise ValueError(
            f"column {columns.url!r} is a list of {len(value)}, expected one URL or path; "
            f"name one: columns: {{url: '{columns.url}[0]'}}"
        )
    return as_text(value, columns, "url")


def _turns(found: Mapping[str, Any], columns: Columns) -> tuple[Turn, ...]:
    """Return the conversation of a row: its turns, or a question and its answer."""
    if columns.turns != "":
        return turns_of(found.get("turns"))
    if columns.answer == "":
        return ()
    question = as_text(found.get("text"), columns, "text")
    answer = as_text(found.get("answer"), columns, "answer")
    if not question or not answer:
        missing = "answer" if question else "text"
        raise ValueError(
            f"column {getattr(columns, missing)!r} is empty; a question needs an answer"
        )
    return turns_of([{"user": question, "assistant": answer}])


def _kept(row: Mapping[Any, Any], names: Sequence[str]) -> str:
    """Return columns of a row as a JSON object: NaN as null, what JSON has no type for as text."""
    if not names:
        return "{}"
    found = {name: look_up(row, name) for name in names}
    kept = {name: None if value is ABSENT else value for name, value in found.items()}
    strict = json.loads(json.dumps(kept, default=str), parse_constant=lambda _: None)
    return json.dumps(strict, ensure_ascii=False).encode("utf-8", "replace").decode()


def _tags(value: Any, columns: Columns) -> tuple[str, ...]:
    items = value if isinstance(value, list | tuple) else as_text(value, columns, "tags").split(",")
    return tuple(tag for item in items if (tag := as_text(item, columns, "tags")))
