"""Read the prompts of benchmarks, in the layouts in which they are published.

GenEval: `evaluation_metadata.jsonl` with `prompt`. DPG-Bench: a folder with a .txt a prompt, or
`dpg_bench.csv` with `text`. T2I-CompBench: .txt files with a prompt a line. HPSv2: .json files,
each a list of prompts. Lists of your own: any of these, .tsv or .parquet.
"""

import csv
import hashlib
import io
import json
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, cast

import pyarrow as pa
import pyarrow.parquet

from filters.text_list import read_bytes
from schemas.store.errors import CorpusError
from schemas.store.retries import open_fs

pq: Any = pyarrow.parquet  # its stubs lack types
COLUMNS: Final = ("prompt", "text")  # looked for if no column is named
# JSON can name them with an escape; UTF-8 cannot encode them. `filters.cleaning` removes them too.
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
# Of readers of formats, on damaged files.
_DAMAGED: Final = (ValueError, csv.Error, pa.ArrowException, OSError, ArithmeticError)


def read_prompts(path: str, column: str = "", sha256: str = "") -> list[str]:
    """Read the prompts of a file or of all files of a folder, each once, without lone surrogates.

    Args:
        path: any fsspec URL.
        column: of .jsonl, .csv, .tsv, .parquet, and of .json with objects; '' for the first of
            COLUMNS that is there.
        sha256: as `prompts_sha256` returns it, checked if given.

    Raises:
        CorpusError: there is no such file, it has another format, no prompt, or not the hash.
    """
    bodies = _bodies(path)
    found = _sha256(path, bodies)
    if sha256 and found != sha256:
        raise CorpusError(f"{path}: sha256 is {found}, the recipe says {sha256}")
    rows = (prompt for file, body in bodies.items() for prompt in _prompts(file, body, column))
    prompts = [each for each in dict.fromkeys(prompt.strip() for prompt in rows) if each]
    if not prompts:
        raise CorpusError(f"{path}: expected prompts, found none")
    return prompts


def prompts_sha256(path: str) -> str:
    """Return the sha256 of a file; of a folder, of its lines `SHA256  NAME`, as sha256sum's.

    Raises:
        CorpusError: there is no such file.
    """
    return _sha256(path, _bodies(path))


def _sha256(path: str, bodies: Mapping[str, bytes]) -> str:
    hashes = {file: hashlib.sha256(body).hexdigest() for file, body in bodies.items()}
    if [*hashes] == [path]:
        return hashes[path]
    lines = (f"{digest}  {posixpath.basename(file)}\n" for file, digest in hashes.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _bodies(path: str) -> dict[str, bytes]:
    """Return {file: its bytes}; those of a folder are in the order of their names."""
    fs, place = open_fs(path)
    if not fs.isdir(place):
        return {path: read_bytes(path)}
    names = sorted(posixpath.basename(each.rstrip("/")) for each in fs.ls(place, detail=False))
    files = [f"{path.rstrip('/')}/{name}" for name in names if _suffix(name) in _READERS]
    if not files:
        raise CorpusError(f"{path}: holds no file of prompts ({', '.join(_READERS)})")
    return {file: read_bytes(file) for file in files}


def _prompts(file: str, body: bytes, column: str) -> Iterator[str]:
    read = _READERS.get(_suffix(file))
    if read is None:
        raise CorpusError(f"{file}: expected prompts in {', '.join(_READERS)}")
    try:
        rows = list(read(body))
    except RecursionError as error:
        raise CorpusError(f"{file}: not readable: nested too deep") from error
    except _DAMAGED as error:
        raise CorpusError(f"{file}: not readable: {error}") from error
    for number, row in enumerate(rows, 1):
        prompt = row if isinstance(row, str) else _value(row, column, f"{file}: row {number}")
        if not isinstance(prompt, str):
            raise CorpusError(f"{file}: row {number}: expected a text, found {prompt!r:.80}")
        yield _LONE_SURROGATE.sub("", prompt)


def _value(row: Any, column: str, where: str) -> Any:
    if not isinstance(row, dict):
        raise CorpusError(f"{where}: expected a text or an object, found {row!r:.80}")
    values = cast(dict[Any, Any], row)
    for name in (column,) if column else COLUMNS:
        if name in values:
            return values[name]
    wanted = column or " or ".join(COLUMNS)
    raise CorpusError(f"{where}: has no column {wanted}, but {', '.join(map(str, values))}")


def _suffix(file: str) -> str:
    return posixpath.splitext(file)[1].lower()


def _text(body: bytes) -> str:
    return body.decode("utf-8-sig")


def _json(body: bytes) -> Iterable[Any]:
    found: Any = json.loads(_text(body))
    if not isinstance(found, list):
        raise ValueError(f"expected a list, found {type(found).__name__}")
    return cast(list[Any], found)


def _jsonl(body: bytes) -> Iterable[Any]:
    # Not by splitlines: a text may hold other marks that end lines, as U+2028.
    return [json.loads(line) for line in _text(body).split("\n") if line.strip()]


def _table(delimiter: str) -> Callable[[bytes], Iterable[Any]]:
    return lambda body: csv.DictReader(
        io.StringIO(_text(body), newline=""), delimiter=delimiter, strict=True
    )


_READERS: Final[Mapping[str, Callable[[bytes], Iterable[Any]]]] = {
    ".txt": lambda body: _text(body).splitlines(),
    ".json": _json,
    ".jsonl": _jsonl,
    ".csv": _table(","),
    ".tsv": _table("\t"),
    ".parquet": lambda body: pq.ParquetFile(pa.BufferReader(body)).read().to_pylist(),
}
