"""Files of a source: which ones a path or glob names, and what tells their versions apart."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pipelines.retries import open_fs
from pipelines.storage import CorpusError

# What file systems call the mark of a file's version, surest first.
_MARKS = ("etag", "ETag", "md5Hash", "mtime", "created", "LastModified", "Last-Modified")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file of a source."""

    fs: Any
    path: str  # on `fs`
    url: str
    name: str  # below the last folder that the source's path names without a wildcard
    size: int  # bytes
    version: str  # changes when the file does


def open_path(path: str) -> tuple[Any, str]:
    """Return the file system and full path of a source; listings are read anew.

    Raises:
        CorpusError: for a chained URL, because files in it have no URL of their own to refer to.
    """
    if "::" in path:
        raise CorpusError(f"{path}: chained URLs ('::') cannot be read in place; unpack it first")
    fs, full = open_fs(path)
    fs.invalidate_cache()
    return fs, full


def expand(path: str) -> list[SourceFile]:
    """Return the files that a path or glob names, in name order.

    Raises:
        CorpusError: if there is none, or a path without wildcards is no file.
    """
    fs, full = open_path(path)
    files = _files(fs, [full])
    fixed = full if files else full[: _wildcard(full)]
    if not files and _wildcard(full):
        files = _files(fs, sorted(fs.glob(full)))
    if not files:
        raise CorpusError(f"{path}: no such file")
    folder = fixed[: fixed.rfind("/") + 1]
    return [
        SourceFile(
            fs=fs,
            path=name,
            url=fs.unstrip_protocol(name),
            name=name.removeprefix(folder),
            size=info["size"],
            version=file_version(info),
        )
        for name, info in files.items()
    ]


def versions(path: str) -> str:
    """Return the names and versions of the files that a path or glob names.

    Raises:
        CorpusError: if there is none.
    """
    return "\n".join(f"{file.url} {file.version}" for file in expand(path))


def file_version(info: Mapping[str, Any]) -> str:
    """Return what tells a file's versions apart, from its file system's `info`."""
    mark = next((str(info[name]) for name in _MARKS if info.get(name)), "")
    return f"{info.get('size')} {mark} {info.get('ino', '')}".strip()


def _wildcard(path: str) -> int:
    """Return where the first wildcard of a path stands; 0 if there is none."""
    return min((path.index(c) for c in "*?[" if c in path), default=0)


def _files(fs: Any, paths: list[str]) -> dict[str, Mapping[str, Any]]:
    """Return the `info` of those paths that are files."""
    infos: dict[str, Mapping[str, Any]] = {}
    for path in paths:
        with suppress(FileNotFoundError):
            infos[path] = fs.info(path)
    return {path: info for path, info in infos.items() if info["type"] == "file"}
