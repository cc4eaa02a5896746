"""Errors of a local dataset that name the damaged file; `datasets` names only the folder."""

import json
import os.path
import re
from collections import Counter

import pyarrow as pa

from pipelines.sources.files import find_files
from pipelines.sources.lists.parquet import open_parquet
from pipelines.sources.names import suffix_of
from pipelines.sources.walk import walk
from schemas.source_config import HuggingFaceSource
from schemas.store.storage import CorpusError

_OF_SCHEMAS = re.compile(r"FieldRef|[Cc]ast|[Ss]chema|[Cc]onver|column names")


def require_split(source: HuggingFaceSource, saved: str) -> None:
    """Check that `save_to_disk` wrote the split.

    Args:
        source: the dataset.
        saved: the folder of one split, '' if none was found.

    Raises:
        CorpusError: there is no such split; lists the existing splits.
    """
    path, split = source.path, source.split
    if not saved:
        splits = _list_of(os.path.join(path, "dataset_dict.json"), "splits")
    elif saved == path:
        # A dataset that was saved alone may have no split name: use the default.
        splits = [_state(path).get("_split") or "train"]
    else:
        return
    if splits and split not in splits:
        raise CorpusError(f"{path}: cannot be opened: no split {split!r} among {', '.join(splits)}")


def _state(folder: str) -> dict[str, str]:
    return _object(os.path.join(folder, "state.json"))


def _list_of(name: str, key: str) -> list[str]:
    found = _object(name).get(key) if os.path.exists(name) else None
    return [str(each) for each in found] if isinstance(found, list) else []


def _object(name: str) -> dict[str, str]:
    try:
        with open(name, "rb") as file:
            found = json.load(file)
    except ValueError as error:
        raise CorpusError(f"{name}: cannot be opened: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise CorpusError(f"{name}: cannot be opened: expected a JSON object")
    return found


def name_damaged(path: str, message: str) -> None:
    """Raise a CorpusError with the name of a file that cannot be opened, or differs from others.

    Args:
        path: of the dataset.
        message: the error message of `datasets`.
    """
    first: tuple[str, pa.Schema] | None = None
    for name in _files(path):
        if suffix_of(name) == ".arrow":
            _open_arrow(name)
            continue
        with open(name, "rb") as file:
            schema = open_parquet(file, name).schema_arrow
        if first and _OF_SCHEMAS.search(message) and (what := _difference(first[1], schema)):
            raise CorpusError(f"{name}: {what} in {first[0]}; name files of one schema")
        first = first or (name, schema)


def _files(path: str) -> list[str]:
    if os.path.isdir(path):
        found = [os.path.join(path, name) for name, _ in walk(path, "follow", Counter())]
    else:
        found = [file.path for file in find_files(path).files]
    return sorted(name for name in found if suffix_of(name) in (".parquet", ".arrow"))


def _open_arrow(name: str) -> None:
    with pa.memory_map(name) if os.path.getsize(name) else open(name, "rb") as file:
        try:
            pa.ipc.open_stream(file)
            return
        except (pa.ArrowException, OSError) as error:
            why = error
        try:
            pa.ipc.open_file(file)
        except (pa.ArrowException, OSError):
            raise CorpusError(f"{name}: not a readable Arrow file: {why}") from why


def _difference(first: pa.Schema, schema: pa.Schema) -> str:
    for field in schema:
        if field.name not in first.names:
            return f"has a column {field.name!r} that is not"
        if (other := first.field(field.name).type) != field.type:
            return f"column {field.name!r} is {field.type}, but {other}"
    missing = [name for name in first.names if name not in schema.names]
    return f"lacks the column {missing[0]!r} that is" if missing else ""
