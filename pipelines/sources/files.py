"""Files of a source: the files that a path names, and their versions."""

import errno
import os.path
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from pipelines.sources.links import GONE, not_followed
from pipelines.sources.listing import IMAGE_SUFFIXES, is_storable, storable
from pipelines.sources.names import (
    HIDDEN_FILE,
    LINK_TO_FILE,
    SPECIAL,
    SYSTEM,
    is_hidden,
    is_of_system,
    is_tar,
    suffix_of,
    what_file_is,
)
from pipelines.sources.walk import AGAIN
from pipelines.sources.wildcards import NamedFile, named_by
from schemas.source_config import Links
from schemas.store.retries import open_fs
from schemas.store.storage import CorpusError

_NOTHING = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)

# Names of file systems for the version of a file, most reliable first.
_MARKS = ("etag", "ETag", "md5Hash", "mtime", "created", "LastModified", "Last-Modified")
_SHOWN = 5  # names of a folder, in an error


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file of a source."""

    fs: Any
    path: str  # on `fs`
    url: str
    name: str  # below the last folder that the source's path names without a wildcard
    size: int  # bytes
    version: str  # changes when the file does
    matched: bool  # by a wildcard, rather than named


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The files that a path or glob names."""

    files: list[SourceFile]  # in order of names
    passed_over: Mapping[str, int]  # kind of file that a wildcard matched but is not read -> count


def open_path(path: str) -> tuple[Any, str]:
    """Return the file system and full path of a source, without cached listings.

    Raises:
        CorpusError: the path is empty, or a chained URL, whose files have no URL of their own.
    """
    if not path.strip():
        raise CorpusError("a source's path is empty; name its files or its folder")
    if "::" in path:
        raise CorpusError(
            f"{path}: chained URLs ('::') cannot be read in place; unpack the archive, and name "
            "several files by a wildcard, {a,b} or {00..99}"
        )
    fs, full = open_fs(path)
    fs.invalidate_cache()
    return fs, full


def expand(path: str, links: Links = "follow") -> list[SourceFile]:
    """Return only the files of `find_files`."""
    return find_files(path, links).files


def find_files(path: str, links: Links = "follow") -> Found:
    """Return the files that a path names, with or without wildcards and braces.

    Wildcards are `*`, `?`, `[a-z]` and `**`; braces `{a,b}` and `{00000..00099}`. A part of the
    path that exists literally is no wildcard.

    Args:
        path: any fsspec URL.
        links: which symbolic links that a wildcard matches are read; a link named without a
            wildcard is always read.

    Raises:
        CorpusError: there is no file, a file named without a wildcard is missing, or the path
            names a folder.
    """
    fs, full = open_path(path)
    infos: dict[str, Mapping[str, Any]] = {}
    passed_over: Counter[str] = Counter()
    fixed, names = named_by(fs, full, path, links, passed_over)
    named = {each.path: each for each in names}
    for each in named.values():
        info = _info(fs, each.path)
        if what := _why_not(each, fixed, info, links):
            passed_over[what] += 1
        elif info is not None and info["type"] == "file":
            infos[each.path] = info
        elif not each.matched:
            raise _not_a_file(fs, path, each.path, info)
    if not infos:
        raise _nothing(fs, path, full, passed_over)
    if isinstance(fs, LocalFileSystem) and len(infos) > 1:
        infos = _each_once(infos, passed_over)
    if odd := next((name for name in sorted(infos) if not is_storable(name)), ""):
        raise CorpusError(f"{storable(odd)}: not a name that UTF-8 can hold; rename the file")
    files = [_source_file(fs, named[name], fixed, infos[name]) for name in sorted(infos)]
    return Found(files=files, passed_over=passed_over)


def versions(path: str, links: Links = "follow") -> str:
    """Return names and versions of the files that a path names, and counts of skipped files.

    Raises:
        CorpusError: there is no file.
    """
    found = find_files(path, links)
    lines = [f"{file.url} {file.version}" for file in found.files]
    lines += [f"{what} {number}" for what, number in sorted(found.passed_over.items())]
    return "\n".join(lines)


def file_version(info: Mapping[str, Any]) -> str:
    """Return the version of a file, from its file system's `info`."""
    mark = next((str(info[name]) for name in _MARKS if info.get(name)), "")
    return f"{info.get('size')} {mark} {info.get('ino', '')}".strip()


def nearest_folder(fs: Any, path: str) -> str:
    """Return a hint for errors: the nearest existing folder above a path, and its content."""
    while (folder := path.rpartition("/")[0]) and folder != path:
        if fs.isdir(folder):
            found = (os.path.basename(str(each).rstrip("/")) for each in fs.ls(folder, False))
            names = sorted(storable(name) for name in found if not name.startswith("."))
            shown = ", ".join([*names[:_SHOWN], *(["..."] if len(names) > _SHOWN else [])])
            return f"; the nearest folder there is, {folder}, holds {shown or 'nothing'}"
        path = folder
    return ""


def _source_file(fs: Any, file: NamedFile, fixed: str, info: Mapping[str, Any]) -> SourceFile:
    return SourceFile(
        fs=fs,
        path=file.path,
        url=fs.unstrip_protocol(file.path),
        name=file.path.removeprefix(fixed),
        size=info["size"],
        version=file_version(info),
        matched=file.matched,
    )


def _each_once(
    infos: Mapping[str, Mapping[str, Any]], passed_over: Counter[str]
) -> dict[str, Mapping[str, Any]]:
    """Leave out links to files that are in the list already, directly or by an earlier link."""
    real = {path: os.path.realpath(path) for path in infos}
    taken: dict[str, str] = {}
    for path in sorted(infos, key=lambda path: (path != real[path], path)):
        taken.setdefault(real[path], path)
    kept = {path: info for path, info in infos.items() if taken[real[path]] == path}
    if again := len(infos) - len(kept):
        passed_over[f"{LINK_TO_FILE} {AGAIN}"] += again
    return kept


def _why_not(file: NamedFile, fixed: str, info: Mapping[str, Any] | None, links: Links) -> str:
    """Return the kind under which a matched file is skipped, '' if it is read."""
    below = file.path.removeprefix(fixed)
    if not file.matched:
        return ""
    if info is not None and info["type"] == "directory":
        return "folder" if file.is_local else ""
    if is_of_system(below.rpartition("/")[2]):
        return SYSTEM
    if any(is_hidden(part) for part in below.split("/")[:-1]) and not file.hidden:
        return HIDDEN_FILE
    if info is None:
        return f"{LINK_TO_FILE} that {GONE}"
    if file.is_local and (why := not_followed(os.path.realpath(fixed), below, links)):
        return f"{LINK_TO_FILE} that {why}"
    return "" if info["type"] == "file" else SPECIAL


def info_of(fs: Any, path: str) -> Mapping[str, Any] | None:
    """Return the `info` of a path, None if nothing exists there.

    Raises:
        OSError: the path cannot be examined.
    """
    try:
        return fs.info(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in _NOTHING:
            return None
        raise


def _info(fs: Any, path: str) -> Mapping[str, Any] | None:
    try:
        return info_of(fs, path)
    except OSError as error:
        raise CorpusError(f"{path}: cannot be examined: {error.strerror or error}") from error


def _not_a_file(fs: Any, path: str, name: str, info: Mapping[str, Any] | None) -> CorpusError:
    if info is None:
        of = "" if name.endswith(path) else f", which {path} names"
        return CorpusError(f"{name}: no such file{of}{nearest_folder(fs, name)}")
    if info["type"] != "directory":
        return CorpusError(f"{name}: is no regular file")
    return CorpusError(f"{name}: is a folder; expected files: {_how_to_name(fs, name)}")


def _how_to_name(fs: Any, folder: str) -> str:
    """Return a hint how to name the files of a folder: tars, else images, else the most common."""
    names = sorted(str(each).rstrip("/").rpartition("/")[2] for each in fs.ls(folder, False))
    names = [name for name in names if not is_of_system(name)]
    suffixes = Counter(suffix_of(name) for name in names)
    most = sorted(suffixes, key=lambda each: (-suffixes[each], each))
    if tars := Counter(what_file_is(name) for name in names if is_tar(name)):
        suffix = tars.most_common(1)[0][0].removesuffix(" file")
        return f"name them, such as {folder}/*{suffix}; kind: webdataset reads tars"
    if images := [suffix for suffix in most if suffix in IMAGE_SUFFIXES]:
        return f"name them, or read the folder's images with kind: folder ({images[0]} is one)"
    return f"name them, such as {folder}/*{most[0] if most else ''}"


def _nothing(fs: Any, path: str, full: str, passed_over: Mapping[str, int]) -> CorpusError:
    listed = ", ".join(f"{number} {what}" for what, number in sorted(passed_over.items()))
    if listed:
        return CorpusError(f"{path}: no such file that is read; passed over: {listed}")
    return CorpusError(f"{path}: no such file{nearest_folder(fs, full)}")
