"""The listing of a folder: one line per image with its texts, and counts of other files."""

import hashlib
import json
import os
import posixpath
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from fsspec.implementations.local import LocalFileSystem

from pipelines.sources.files import file_version, nearest_folder, open_path
from pipelines.sources.links import Fault, file_fault, link_fault
from pipelines.sources.listing import IMAGE_SUFFIXES, TEXT_SUFFIXES, Unit
from pipelines.sources.names import (
    FURTHER_TEXT,
    HIDDEN_FILE,
    HIDDEN_FOLDER,
    IMAGE,
    SPECIAL,
    TEXT,
    is_hidden,
    is_tar,
    suffix_of,
    text_alone,
    what_file_is,
    what_it_is,
)
from pipelines.sources.walk import walk
from schemas.source_config import Links
from schemas.store.storage import CorpusError

_SHOWN = 10  # suffixes, in an error


class _File(NamedTuple):
    """An image or text of a folder."""

    version: str
    fault: Fault | None = None  # a link that is not followed, or is broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The content of a folder."""

    lines: list[bytes]  # JSON, one per image, sorted by name
    passed_over: Mapping[str, int]  # kind of file -> count

    def digest(self) -> str:
        """Return a hash that changes with the folder."""
        counts = json.dumps(dict(self.passed_over), sort_keys=True).encode()
        return hashlib.sha256(b"".join([*self.lines, counts])).hexdigest()


def list_folder(path: str, links: Links) -> Listing:
    """List the images of a folder and all folders below it.

    A text belongs to the images with the same folder and stem. If several texts differ only in the
    case of the suffix, the one in lower case is read, else the first by name.

    Raises:
        CorpusError: there is no such folder, it cannot be listed, or has no image.
    """
    fs, root = require_folder(path)
    passed_over: Counter[str] = Counter()
    is_local = isinstance(fs, LocalFileSystem)
    found = _local(root, links, passed_over) if is_local else _distant(fs, root, passed_over)
    images: dict[str, _File] = {}
    texts: dict[str, dict[str, _File]] = {}  # by the path without its suffix
    for name, file in found:
        stem, suffix = posixpath.splitext(name)
        if suffix.lower() in IMAGE_SUFFIXES:
            images[name] = file
        else:
            texts.setdefault(stem, {})[name] = file
    lines = [_line(name, images[name], texts) for name in sorted(images)]
    stems = {posixpath.splitext(name)[0] for name in images}
    for stem, names in texts.items():
        if stem in stems:
            passed_over[FURTHER_TEXT] += len(names) - len(_chosen(names))
        else:
            passed_over.update(text_alone(name) for name in names)
    if not lines:
        raise _no_image(path, passed_over)
    return Listing(lines=lines, passed_over={k: n for k, n in sorted(passed_over.items()) if n})


def require_folder(path: str) -> tuple[Any, str]:
    """Return the file system and the full path of a folder.

    Raises:
        CorpusError: there is no such folder.
    """
    fs, root = open_path(path)
    if not fs.isdir(root):
        raise _no_folder(fs, path, root)
    return fs, root


def listing_units(source: str, url: str, lines: list[bytes], rows_per_shard: int) -> Iterator[Unit]:
    """Cut a listing into units; a unit's version depends on its own images only."""
    start = 0
    for first in range(0, len(lines), rows_per_shard):
        part = b"".join(lines[first : first + rows_per_shard])
        yield Unit(
            source=source,
            path=url,
            name=posixpath.basename(url),
            version=hashlib.sha256(part).hexdigest(),
            start=start,
            end=start + len(part),
            first_row=first,
            rows=len(lines[first : first + rows_per_shard]),
        )
        start += len(part)


def _line(name: str, image: _File, texts: Mapping[str, dict[str, _File]]) -> bytes:
    beside = texts.get(posixpath.splitext(name)[0], {})
    chosen = _chosen(beside)
    line: dict[str, Any] = {"path": name, "texts": chosen}
    line["version"] = [image.version, *(beside[text].version for text in chosen)]
    faults = [(name, image.fault), *((text, beside[text].fault) for text in chosen)]
    if fault := next(((of, fault) for of, fault in faults if fault), None):
        # The row's id already names the image.
        of = "" if fault[0] == name else f"{posixpath.basename(fault[0])}: "
        line["fault"] = [fault[1].reason, f"{of}{fault[1].what}"]
    return f"{json.dumps(line)}\n".encode()


def _chosen(texts: Mapping[str, _File]) -> list[str]:
    """Return the names of the texts to read: one per suffix."""
    names = {suffix: [n for n in texts if suffix_of(n) == suffix] for suffix in TEXT_SUFFIXES}
    return [
        min(found, key=lambda name: (not name.endswith(suffix), name))
        for suffix, found in names.items()
        if found
    ]


def _local(root: str, links: Links, passed_over: Counter[str]) -> Iterator[tuple[str, _File]]:
    """Yield the images and texts of a local folder; count all other files."""
    real_root = os.path.realpath(root)
    for path, entry in walk(root, links, passed_over):
        what = what_file_is(entry.name)
        is_link = entry.is_symlink()
        if not is_link and not entry.is_file(follow_symlinks=False):
            passed_over[SPECIAL] += 1
        elif what not in (IMAGE, TEXT):
            passed_over[what] += 1
        elif is_link:
            yield path, _linked(real_root, path, links)
        else:
            yield path, _File(_version(entry.stat(follow_symlinks=False)))


def _linked(real_root: str, path: str, links: Links) -> _File:
    """Return the version of a link's target, or why the link is not read."""
    full = os.path.join(real_root, path)
    mark = f"link {os.readlink(full)}"
    try:
        info = os.stat(full)
    except OSError as error:
        if (fault := file_fault(error, is_link=True)) is None:
            raise
        return _File(mark, fault)
    if not stat.S_ISREG(info.st_mode):
        return _File(mark, Fault("missing_file", "a link to something that is no regular file"))
    if fault := link_fault(real_root, path, links):
        return _File(mark, fault)
    return _File(_version(info))


def _distant(fs: Any, root: str, passed_over: Counter[str]) -> Iterator[tuple[str, _File]]:
    """Yield the images and texts of a remote folder; count all other files."""
    hidden: set[str] = set()
    for path, info in fs.find(root, detail=True).items():
        name = path.removeprefix(root).lstrip("/")
        what = what_it_is(name)
        if info["type"] != "file":
            passed_over[SPECIAL] += 1
        elif what in (IMAGE, TEXT):
            yield name, _File(file_version(info))
        elif what == HIDDEN_FILE:
            parts = name.split("/")
            first = next(n for n, part in enumerate(parts) if is_hidden(part))
            hidden.add("/".join(parts[: first + 1]))
        elif name and not name.endswith("/"):  # else the mark of a folder
            passed_over[what] += 1
    passed_over[HIDDEN_FOLDER] += len(hidden)


def _version(info: os.stat_result) -> str:
    """Return the same as `file_version` for fsspec's `info`, but faster."""
    return f"{info.st_size} {info.st_mtime or info.st_ctime} {info.st_ino}"


def _no_folder(fs: Any, path: str, root: str) -> CorpusError:
    if fs.exists(root):
        return CorpusError(
            f"{path}: no such folder, this is a file; kind: folder expects a folder of images, "
            "kind: webdataset reads tars and kind: list reads lists"
        )
    if any(each in path for each in "*?[{"):
        return CorpusError(
            f"{path}: no such folder; kind: folder takes no wildcards: name the folder above, "
            "which is read with all folders in it"
        )
    return CorpusError(f"{path}: no such folder{nearest_folder(fs, root)}")


def _no_image(path: str, passed_over: Counter[str]) -> CorpusError:
    found = ", ".join(f"{number} {what}" for what, number in passed_over.most_common(_SHOWN))
    known = ", ".join(IMAGE_SUFFIXES[:_SHOWN])
    tars = [suffix for what in passed_over if is_tar(suffix := what.removesuffix(" file"))]
    folder = path.rstrip("/")
    hint = f"; kind: webdataset reads tars, as path: {folder}/**/*{tars[0]}" if tars else ""
    return CorpusError(
        f"{path}: no image in this folder ({known}, ...); found: {found or 'nothing'}{hint}"
    )
