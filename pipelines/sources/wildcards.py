"""Expansion of paths with wildcards and braces."""

import glob
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from math import prod
from typing import Any, NamedTuple

from braceexpand import braceexpand
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import glob_translate

from pipelines.sources.walk import walk
from schemas.source_config import Links
from schemas.store.storage import CorpusError

MOST_NAMES = 100_000  # from braces
_WILDCARD = re.compile(r"[*?\[]")
_SPECIAL = re.compile(r"[*?\[{]")
_RANGE = re.compile(r"\{(-?\d+)\.\.(-?\d+)(?:\.\.-?\d+)?\}")


class NamedFile(NamedTuple):
    """A path that a source's path names or matches."""

    path: str  # on its file system
    matched: bool  # by a wildcard; if False, the file may be missing
    hidden: bool = False  # the wildcard includes hidden folders
    is_local: bool = False


def named_by(
    fs: Any, full: str, shown: str, links: Links, passed_over: Counter[str]
) -> tuple[str, Iterator[NamedFile]]:
    """Return the last folder of a path before its first wildcard, and the matching paths.

    Args:
        fs: file system.
        full: path on it.
        shown: the path as the user wrote it, for errors.
        links: which linked folders `**` enters.
        passed_over: counts the folders that `**` does not enter.

    Raises:
        CorpusError: the braces do not match, or give too many names.
    """
    fixed, pattern = _split(fs, full)
    if not pattern:
        return full[: full.rfind("/") + 1], iter([NamedFile(full, matched=False)])
    return fixed, _named(fs, fixed, _unbraced(pattern, shown), links, passed_over)


def _split(fs: Any, full: str) -> tuple[str, str]:
    """Split a path before its first part with a wildcard or brace that does not exist literally."""
    parts = full.split("/")
    for n, part in enumerate(parts):
        if _SPECIAL.search(part) and not fs.exists("/".join(parts[: n + 1])):
            return "".join(f"{each}/" for each in parts[:n]), "/".join(parts[n:])
    return full, ""


def _unbraced(pattern: str, shown: str) -> list[str]:
    # As in a shell, two stars inside a name mean one.
    parts = (part if part == "**" else re.sub(r"\*{2,}", "*", part) for part in pattern.split("/"))
    pattern = "/".join(parts)
    if "{" not in pattern:
        return [pattern]
    ranges = [abs(int(end) - int(start)) + 1 for start, end in _RANGE.findall(pattern)]
    if prod(ranges) > MOST_NAMES:
        raise CorpusError(f"{shown}: its braces stand for more than {MOST_NAMES:,} names")
    try:
        names = list(islice(braceexpand(pattern, escape=False), MOST_NAMES + 1))
    except ValueError as error:
        raise CorpusError(f"{shown}: a brace is not closed, or not opened") from error
    if len(names) > MOST_NAMES:
        raise CorpusError(f"{shown}: its braces stand for more than {MOST_NAMES:,} names")
    return list(dict.fromkeys(names))


def _named(
    fs: Any, fixed: str, patterns: list[str], links: Links, passed_over: Counter[str]
) -> Iterator[NamedFile]:
    is_local = isinstance(fs, LocalFileSystem)
    for pattern in patterns:
        if not _WILDCARD.search(pattern):
            yield NamedFile(fixed + pattern, matched=False)
            continue
        hidden = pattern.startswith(".") or "/." in pattern
        if is_local and "**" in pattern.split("/"):
            found = _deep(fixed, pattern, hidden, links, passed_over)
        else:
            # A bracket below a wildcard may be part of a name: try this if nothing matches.
            found = _glob(fs, fixed, pattern) or _glob(fs, fixed, pattern.replace("[", "[[]"))
        for name in found:
            yield NamedFile(name, matched=True, hidden=hidden, is_local=is_local)


def _glob(fs: Any, fixed: str, pattern: str) -> list[str]:
    if isinstance(fs, LocalFileSystem):  # fsspec's glob does not enter linked folders
        names = glob.glob(pattern, root_dir=fixed, include_hidden=True)
        return sorted(fixed + name for name in names)
    return sorted(fs.glob(glob.escape(fixed) + pattern))


def _deep(
    fixed: str, pattern: str, hidden: bool, links: Links, passed_over: Counter[str]
) -> list[str]:
    """Match a pattern with `**`, which may enter linked folders, but each folder once."""
    matches = re.compile(glob_translate(pattern)).match
    found = walk(fixed, links, passed_over, hidden=hidden)
    return sorted(fixed + path for path, _ in found if matches(path))
