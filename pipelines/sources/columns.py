"""Columns of any list: look-up of a recipe's column in a row, and conversion of values to text."""

import difflib
import json
import re
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, cast

from pipelines.sources.compressed import without_suffix
from schemas.source_config import Column, Columns
from schemas.store.storage import CorpusError

SHOWN_COLUMNS = 40
MOST_NESTED = 32  # lists or objects of a row, inside each other
SHOWN_CHARS = 80  # of a column's name
MAX_NAMES = 1000  # of keys of JSON texts, for a message
# Caption columns of well-known lists, for a suggestion.
_USUAL = ("caption", "captions", "text", "prompt", "alt", "alt_text", "description", "title")
_INDEX = re.compile(r"\[(-?\d+)\]")


class _Absent:
    def __bool__(self) -> bool:
        return False


ABSENT = _Absent()  # returned by `look_up` if there is no such column


def mapped(columns: Columns) -> Mapping[str, Column]:
    """Return `Columns.mapped()`, {field: column}, cached for use at every row."""
    return _mapped(cast(Hashable, columns))  # a frozen model is hashable


@lru_cache(maxsize=16)
def _mapped(columns: Any) -> Mapping[str, Column]:
    return columns.mapped()


def column_of(path: Column, names: Collection[Any]) -> Any:
    """Return the longest of `names` that a path begins with; None if there is none.

    >>> column_of("a.b[0].c", ["a", "a.b"])
    'a.b'
    """
    if path in names:
        return path
    if isinstance(path, int) or not ("." in path or "[" in path):
        return None
    ends = [mark.start() for mark in re.finditer(r"[.\[]", path)]
    return next((path[:end] for end in reversed(ends) if path[:end] in names), None)


def roots(columns: Columns, names: Collection[str]) -> list[str]:
    """Return the names that must be read for the mapped columns."""
    found = (column_of(path, names) for path in columns.mapped().values())
    return list(dict.fromkeys(name for name in found if name is not None))


def look_up(row: Mapping[Any, Any], path: Column) -> Any:
    """Return the value at a path in a row, ABSENT if there is none.

    A name that equals the whole path has precedence. In a list, a name is looked up in each item. A
    text on the way is parsed as JSON.

    Raises:
        ValueError: the path continues into a value without parts.

    >>> row = {"a.b": 1, "a": [{"b": 2}, {"b": 3}], "c": '{"d": 4}'}
    >>> [look_up(row, path) for path in ("a.b", "a[1].b", "a[0]", "c.d")]
    [1, 3, {'b': 2}, 4]
    """
    if path in row:
        return row[path]
    name = column_of(path, row)
    if name is None or isinstance(path, int):
        return ABSENT
    return _part(row[name], path[len(name) :], path)


def fields_in(row: Mapping[Any, Any], columns: Columns) -> set[str]:
    """Return the fields whose column is present in a row."""
    return {field for field, path in mapped(columns).items() if _has(row, path)}


def _has(row: Mapping[Any, Any], path: Column) -> bool:
    try:
        return look_up(row, path) is not ABSENT
    except ValueError:  # it is present; the error is reported with the row
        return True


def _part(value: Any, rest: str, path: str) -> Any:
    if not rest or value is None:
        return value
    if isinstance(value, str):
        value = _parsed(value, rest, path)
    if isinstance(value, list | tuple):
        if not (index := _INDEX.match(rest)):
            parts = (_part(item, rest, path) for item in value)
            return [part for part in parts if part is not ABSENT]
        number = int(index[1])
        inside = -len(value) <= number < len(value)
        return _part(value[number], rest[index.end() :], path) if inside else ABSENT
    if not isinstance(value, Mapping):
        raise ValueError(f"{path!r} asks for {rest!r} of {_type(value)}")
    inner = rest.removeprefix(".")
    name = column_of(inner, value)
    return ABSENT if name is None else _part(value[name], inner[len(name) :], path)


def _parsed(text: str, rest: str, path: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    if isinstance(value, list | dict):
        return value
    raise ValueError(f"{path!r} asks for {rest!r} of a text: {text!r:.80}")


def check_depth(row: Mapping[Any, Any]) -> None:
    """Refuse a row with lists or objects inside each other without end; no text is so deep.

    Raises:
        ValueError: they are over `MOST_NESTED` deep.
    """
    level: list[Any] = [*row.values()]
    for _ in range(MOST_NESTED):
        inner = (
            each.values() if isinstance(each, Mapping) else each
            for each in level
            if isinstance(each, list | tuple | Mapping)
        )
        level = [*chain.from_iterable(inner)]
        if not level:
            return
    raise ValueError(f"lists or objects inside each other, over {MOST_NESTED} deep")


def as_text(value: Any, columns: Columns = Columns(), field: str = "text") -> str:  # noqa: B008
    """Convert a value of a list to text that UTF-8 can hold; null, NaN and empty values give ''.

    A number is accepted for a licence, author, title or tag, but not for a caption.

    Raises:
        ValueError: the value is no text; shows its type.
    """
    if isinstance(value, str):
        return value.strip().encode("utf-8", "replace").decode()
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return bytes(value).decode().strip()
        except UnicodeDecodeError as error:
            raise ValueError(f"column {_shown(columns, field)} is not UTF-8: {error}") from error
    if isinstance(value, list | tuple):
        return _text_of_list(value, columns, field)
    if isinstance(value, Mapping) and value:
        path = columns.column(field)
        raise ValueError(
            f"column {_shown(columns, field)} is a mapping of {', '.join(map(str, value))}; "
            f"name one: columns: {{{field}: {path}.{next(iter(value))}}}"
        )
    # pandas writes a missing text as NaN.
    if value is None or value is ABSENT or isinstance(value, Mapping) or value != value:
        return ""
    if field == "text":  # a number, such as a class label, is no caption
        what = f"column {_shown(columns, field)} is {_type(value)}, expected text"
        raise ValueError(f"{what}: {value!r:.80}")
    return str(value).strip().encode("utf-8", "replace").decode()


def _text_of_list(items: Sequence[Any], columns: Columns, field: str) -> str:
    if items and columns.lists == "refuse":
        raise ValueError(
            f"column {_shown(columns, field)} is a list of {len(items)}; "
            "set columns: {lists: first} or {lists: join}"
        )
    texts = (text for item in items if (text := as_text(item, columns, field)))
    return " ".join(texts) if columns.lists == "join" else next(texts, "")


def _shown(columns: Columns, field: str) -> str:
    return repr(columns.column(field))


def _type(value: Any) -> str:
    names = {bool: "a flag", int: "a number", float: "a number", bytes: "bytes", list: "a list"}
    return names.get(type(value), f"a {type(value).__name__}")


def keys_of(row: Mapping[str, Any], columns: Columns) -> Iterator[str]:
    """Yield the names in a JSON row; for a mapping that a mapped path enters, its paths.

    >>> list(keys_of({"url": "", "text": {"en": "", "de": ""}}, Columns(text="text.fr")))
    ['url', 'text.en', 'text.de']
    """
    paths = [path for path in mapped(columns).values() if path not in row]
    entered = {column_of(path, row) for path in paths}
    for name, value in row.items():
        item = value[0] if isinstance(value, list) and value else value
        if name in entered and isinstance(item, Mapping) and item:
            yield from (f"{name}.{key}" for key in item)
        else:
            yield name


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundColumns:
    """The columns of one file of a source."""

    file: str
    names: Sequence[Any]  # as in the file
    fields: Set[str]  # the fields of `Columns` with a column in the file


def found_in(file: str, names: Iterable[Any], columns: Columns) -> FoundColumns:
    """Return the fields that have a column among the names of a file."""
    names = list(dict.fromkeys(names))
    fields = {f for f, path in columns.mapped().items() if column_of(path, names) is not None}
    return FoundColumns(file=file, names=names, fields=fields)


def without_captions(what: str, rows: str = "every row of it") -> str:
    """Return the warning that rows of a source without captions are dropped."""
    return f"{what}: with caption.engine source {rows} is dropped, by a rule or as no_caption"


def require_columns(
    source: str, columns: Columns, files: Sequence[FoundColumns], *, url: bool = True
) -> None:
    """Check that a source has its columns: URLs and captions in every file, others in any file.

    `files` must not contain files without rows.

    Args:
        source: name of the source.
        columns: as mapped by the recipe.
        files: the columns of each file.
        url: whether a URL column is required.

    Raises:
        CorpusError: a column is missing; lists the columns found, and suggests a setting.
    """
    mapped, explicit = columns.mapped(), columns.explicit()
    for found in files if url and columns.expects_url else ():
        if "url" not in found.fields:
            hint = _hint("url", columns, found.names)
            what = f"no column {columns.url!r} among {_listed(found.names)}"
            if without_suffix(found.file).lower().endswith(".json"):
                hint = f"{hint}; expected an array of rows, or a row a line"
            raise CorpusError(f"{found.file}: {what}; {hint}")
    if not files:
        return
    names = list(dict.fromkeys(name for found in files for name in found.names))
    present = {field for found in files for field in found.fields}
    missing = [f for f in explicit if f in mapped and f not in present]
    if columns.expects_text and not present & {"text", "title"} and "text" not in missing:
        missing.append("text")
    if missing:
        raise CorpusError("\n".join(_missing(source, f, columns, names) for f in missing))
    _require_captions(columns, files)


def _require_captions(columns: Columns, files: Sequence[FoundColumns]) -> None:
    """Check that captions have the same column name in all files."""
    mapped = columns.mapped()
    named = [f for f in ("text", "title") if f in columns.explicit() and f in mapped]
    wanted = named or ["text", "title"]
    with_text = next((found.file for found in files if found.fields & {*wanted}), None)
    for found in files:
        if columns.expects_text and with_text is not None and not found.fields & {*wanted}:
            raise CorpusError(
                f"{found.file}: no column {_shown(columns, wanted[0])} among "
                f"{_listed(found.names)}, which {with_text} has; "
                "lists with other columns are a source of their own"
            )


def _missing(source: str, field: str, columns: Columns, names: Sequence[Any]) -> str:
    if columns.are_numbers and not isinstance(columns.column(field), int):
        what = f"source {source}: the recipe gives no number of the column of the {field}"
    else:
        what = f"column {_shown(columns, field)} is in no file of source {source}"
    without = "; for a source without captions, columns: {text: ''}" if field == "text" else ""
    return f"{what}; columns found: {_listed(names)}; {_hint(field, columns, names)}{without}"


def _listed(names: Sequence[Any]) -> str:
    more = f" and {len(names) - SHOWN_COLUMNS} more" if len(names) > SHOWN_COLUMNS else ""
    return ", ".join(map(_on_one_line, names[:SHOWN_COLUMNS])) + more or "none"


def _on_one_line(name: Any) -> str:
    text = str(name)
    # Spaces at the ends are part of the name, so they must be visible.
    shown = repr(text) if text != text.strip() or not text else " ".join(text.split())
    return shown[:SHOWN_CHARS].encode("utf-8", "backslashreplace").decode()


def _hint(field: str, columns: Columns, names: Sequence[Any]) -> str:
    if field != "url" and list(names) == [columns.url]:
        return f"expected a list with a column of the {field} too, as a .csv has"
    if field == "url" and any("://" in str(name) for name in names):
        return "if the file has no header, give numbers: columns: {url: 0, text: 1}"
    if field == "url" and len(names) == 1:
        mark = next((mark for mark in (";", ",", "\t", "|") if mark in str(names[0])), "")
        if mark:
            return f"its cells seem to be separated by {mark!r}, not by ',' (.csv) or a tab (.tsv)"
    likely = _likely(str(columns.column(field)), [str(name) for name in names], field)
    return f"name it in columns: {{{field}: {_on_one_line(likely or 'COLUMN')}}}"


def _likely(name: str, names: Sequence[str], field: str) -> str | None:
    """Return the name that was probably meant."""
    plain = {each.strip().casefold(): each for each in reversed(names)}
    wanted = [name.strip().casefold(), *(_USUAL if field in ("text", "title") else (field,))]
    if exact := next((plain[each] for each in wanted if each in plain), None):
        return exact
    near = difflib.get_close_matches(wanted[0], plain, n=1)
    return plain[near[0]] if near else None
