"""Local datasets: their files, the kinds of source for other files, and files that are no rows."""

import glob
import json
import os.path
import re
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

from pipelines.sources.files import find_files
from pipelines.sources.names import IMAGE, as_other, is_tar, suffix_of, what_it_is
from pipelines.sources.walk import walk
from schemas.source_config import HuggingFaceSource
from schemas.store.storage import CorpusError

NOT_LISTED = "image that the dataset does not list"
OTHER_SPLIT = "file of another split"

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_BUILDERS = {
    **{".parquet": "parquet", ".arrow": "arrow"},
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "json"),
}
_LISTS = (".csv", ".tsv", ".txt")
_LIST_INSTEAD = (
    "kind: list reads CSV, TSV and text, with quotes and types as they are written "
    "(kind: folder with list: where it names images by their paths)"
)
_TARS_INSTEAD = "kind: webdataset reads tars"
# Suggestions by the class of `datasets` that would read the files.
_INSTEAD = {
    "Csv": _LIST_INSTEAD,
    "Text": _LIST_INSTEAD,
    "WebDataset": _TARS_INSTEAD,
}
_COMPRESSED = re.compile(r"\.(gz|zst|bz2|xz)$", re.IGNORECASE)
_MAGIC = re.compile(r"[*?\[]")
_OF_SPLIT = re.compile(
    r"(^|[^a-z])(test|testing|eval|evaluation|val|valid|validation|dev)([^a-z]|$)"
)


def require_ours(builder: Any, path: str) -> None:
    """Refuse a local dataset that another kind of source reads without loss.

    Raises:
        CorpusError: another kind fits; names the kind.
    """
    for each in type(builder).__mro__:
        if instead := _INSTEAD.get(each.__name__):
            raise CorpusError(f"{path}: {instead}")


def class_of(builder: Any) -> str:
    """Return the class name of a builder of `datasets`, such as ImageFolder; '' if unknown."""
    known = {*_INSTEAD, "Parquet", "Arrow", "Json", "ImageFolder"}
    return next((each.__name__ for each in type(builder).__mro__ if each.__name__ in known), "")


def named_files(path: str) -> tuple[str, list[str]]:
    """Return (name of the builder, files) of a path that names files, not a folder.

    Raises:
        CorpusError: there is no file, or the files do not have one supported format.
    """
    files = [file.path for file in find_files(path).files]
    ours = [name for name in files if suffix_of(name) in _BUILDERS]
    if not ours:
        raise CorpusError(f"{path}: {_other_kind(files)}")
    suffixes = sorted({suffix_of(name) for name in ours})
    if len(suffixes) > 1:
        raise CorpusError(f"{path}: holds {' and '.join(suffixes)} files; name those of one kind")
    return _BUILDERS[suffixes[0]], ours


def _other_kind(files: list[str]) -> str:
    if any(is_tar(name) for name in files):
        return _TARS_INSTEAD
    if any(suffix_of(_COMPRESSED.sub("", name)) in _LISTS for name in files):
        return _LIST_INSTEAD
    return f"cannot be opened: expected a folder, or {', '.join(_BUILDERS)}"


def oddly_named(path: str) -> bool:
    """Return whether `datasets` would read a folder's name as a wildcard."""
    return os.path.isdir(path) and bool(_MAGIC.search(path))


def files_of_odd_folder(path: str, split: str) -> tuple[str, list[str]]:
    """Return (name of the builder, files) of a folder whose name looks like a wildcard.

    Raises:
        CorpusError: the folder's layout is not simple, so `datasets` itself would have to read it.
    """
    names = sorted(name for name, _ in walk(path, "follow", Counter()))
    ours = [name for name in names if suffix_of(name) in _BUILDERS]
    suffixes = {suffix_of(name) for name in ours}
    if len(suffixes) != 1 or split != "train" or any(_OF_SPLIT.search(n.lower()) for n in ours):
        raise CorpusError(
            f"{path}: cannot be opened: `datasets` takes *, ? and [ in a folder's name for "
            "wildcards; rename the folder, or name its files"
        )
    return _BUILDERS[suffixes.pop()], [os.path.join(path, name) for name in ours]


def escaped(files: list[str]) -> list[str]:
    """Escape file names for `datasets`, so that none is a wildcard."""
    return [glob.escape(name) for name in files]


def files_of_saved(folder: str) -> list[str]:
    """Return the files that `save_to_disk` wrote for one split."""
    with open(os.path.join(folder, "state.json"), "rb") as file:
        parts = [part["filename"] for part in json.load(file)["_data_files"]]
    above = os.path.join(os.path.dirname(folder), "dataset_dict.json")
    own = ("state.json", "dataset_info.json", "dataset_dict.json", *parts)
    return [*(os.path.join(folder, name) for name in own), above]


def passed_over(
    source: HuggingFaceSource, used: Collection[str], others: Collection[str], images: Any
) -> dict[str, int]:
    """Count the files in a local dataset that are no rows.

    Args:
        source: the dataset.
        used: files that are read.
        others: files of the other splits.
        images: returns the paths of the images that rows name; called only if there are images
            beside the files that are read.
    """
    if not os.path.isdir(source.path):
        found = find_files(source.path)
        rest = [as_other(f.name) for f in found.files if f.path not in used]
        return dict(sorted((Counter(found.passed_over) + Counter(rest)).items()))
    counts: Counter[str] = Counter()
    left = list(_left(source.path, {*map(os.path.realpath, used)}, counts))
    of_others = {*map(os.path.realpath, others)}
    looks = [(path, what_it_is(os.path.relpath(path, source.path))) for path in left]
    members = [member for name in used for member in _members(name)]
    raw: set[str] = set()
    if members or any(what == IMAGE for _, what in looks):
        raw = set(images())
    named = {os.path.realpath(path) for path in raw}
    for member, zipped in members:
        if zipped not in raw:
            what = what_it_is(member)
            counts[NOT_LISTED if what == IMAGE else _what_other(member, what)] += 1
    for path, what in looks:
        real = os.path.realpath(path)
        if real in named:
            continue
        if real in of_others:
            counts[OTHER_SPLIT] += 1
        else:
            counts[NOT_LISTED if what == IMAGE else _what_other(path, what)] += 1
    return dict(sorted(counts.items()))


def _members(name: str) -> Iterator[tuple[str, str]]:
    """Yield the files in a zip archive of images: (name in the archive, name for `datasets`)."""
    if suffix_of(name) != ".zip":
        return
    try:
        with zipfile.ZipFile(name) as archive:
            members = [member.filename for member in archive.infolist() if not member.is_dir()]
    except (OSError, zipfile.BadZipFile) as error:
        raise CorpusError(f"{name}: not a readable zip archive: {error}") from error
    for member in members:
        if os.path.basename(member) not in METADATA:
            yield member, f"zip://{member}::{name}"


def _what_other(path: str, what: str) -> str:
    return as_other(path) if what == "text" else what


def _left(folder: str, used: set[str], counts: Counter[str]) -> Iterator[str]:
    for name, _ in walk(folder, "follow", counts):
        path = os.path.join(folder, name)
        if os.path.realpath(path) not in used:
            yield path
