"""Check the folder that a command writes into: empty, not there yet, or its own.

Looked at before anything is written. A folder that holds anything else is another's work.
"""

import os
import posixpath
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from pipelines.runtime.claims import CLAIMS
from pipelines.runtime.ownership import own_sidecar
from pipelines.shards.manifest import check_contract
from pipelines.sources.plan import PLAN, published_plan
from schemas.recipe import Recipe
from schemas.store.lock import LOCK_NAME
from schemas.store.retries import open_fs
from schemas.store.storage import HARMLESS, CorpusError, Storage, absolute
from schemas.store.whole_file import is_temporary

RECIPE = "recipe.yaml"
MARK = ".vargpt-training"  # in the folder of a training: of what kind it is
WILDCARDS = "*?[{"
SHOWN = 6  # names in a message
ELSEWHERE = "nothing was written; give --out an empty folder, or one that is not there yet"


def corpus_folder(recipe: Recipe, out: str) -> Storage:
    """Return where a corpus is to be built.

    Raises:
        CorpusError: if files that this corpus did not write lie there, if it is no folder or may
            not be written, or if a source reads from it or would.
    """
    store = Storage(absolute(out))
    _check_sources(recipe, store)
    found = foreign(store)
    if not found:
        _check_parents(store)
        return store
    name, sources = _corpus_there(store, found)
    said = f"{store.root}: holds the corpus {name!r} of the sources {', '.join(sorted(sources))}"
    if name and name != recipe.name:
        raise CorpusError(f"{said}, and this recipe is {recipe.name!r}; {ELSEWHERE}")
    wanted = {source.name for source in recipe.sources}
    if sources and not sources & wanted:
        theirs = ", ".join(sorted(wanted))
        raise CorpusError(f"{said}, and this recipe has none of them, but {theirs}; {ELSEWHERE}")
    check_contract(store)
    own_sidecar(store, "sources", "00000.parquet")  # raises if an earlier release wrote it
    return store


def own_folder(out: str, of: str, is_own: Callable[[Storage], bool]) -> Storage:
    """Return where another command is to write.

    Args:
        out: the folder.
        of: what it writes there, for the message.
        is_own: whether a folder that is not empty holds such.

    Raises:
        CorpusError: if something else lies there, it is no folder, or it may not be written.
    """
    store = Storage(absolute(out))
    found = foreign(store)
    if found and not is_own(store):
        there = (
            "a corpus lies here"
            if store.exists(PLAN) or store.exists(RECIPE)
            else f"holds {_some(found)}"
        )
        raise CorpusError(f"{store.root}: {there}, and this is no {of}; {ELSEWHERE}")
    check_contract(store)
    return store


def training_folder(out: str, kind: str, state: str) -> Storage:
    """Return where a training is to write: a folder of its own.

    Args:
        out: the folder, which is local.
        kind: of training.
        state: glob of files that show that one has been there.

    Raises:
        CorpusError: if something else lies there, or it may not be written.
    """
    if "://" in out:
        raise CorpusError(f"--out {out}: expected a local folder")

    def is_own(store: Storage) -> bool:
        root = Path(store.root)
        if not (root / MARK).exists():
            return any(root.glob(state))
        return (root / MARK).read_text().strip() == kind

    return own_folder(out, f"folder of {kind}", is_own)


def mark_training(store: Storage, kind: str) -> None:
    """Mark a folder as one of a training, before anything else is written there."""
    if not store.exists(MARK):
        store.commit_bytes(MARK, f"{kind}\n".encode())


def foreign(store: Storage) -> list[str]:
    """Name the files in a folder, but for harmless ones.

    Raises:
        CorpusError: if it is no folder, or may not be read or written.
    """
    if store.is_local:
        _check_local(store.locate("")[1].rstrip("/") or "/", store.root)
    try:
        found = store.entries()
    except NotADirectoryError as error:
        raise CorpusError(f"{store.root}: is a file, expected a folder; {ELSEWHERE}") from error
    except PermissionError as error:
        raise CorpusError(f"{store.root}: may not be read ({error.strerror})") from error
    return [name for name in found if name not in HARMLESS and not is_temporary(name)]


def _check_local(path: str, said: str) -> None:
    if os.path.islink(path) and not os.path.exists(path):
        raise CorpusError(f"{said}: is a link to {os.readlink(path)}, which is not there")
    place = path
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    if not os.path.isdir(place):
        what = "is a link to nothing" if os.path.islink(place) else "is a file"
        raise CorpusError(f"{said}: {place} {what}, expected a folder; {ELSEWHERE}")
    if not os.access(place, os.W_OK | os.X_OK):
        raise CorpusError(f"{said}: {place} may not be written by this user; {ELSEWHERE}")
    try:
        with tempfile.TemporaryFile(dir=place):  # without a name
            pass
    except OSError as error:
        why = error.strerror or error
        raise CorpusError(f"{said}: nothing can be written in {place} ({why}); {ELSEWHERE}") from (
            error
        )


def _corpus_there(store: Storage, found: list[str]) -> tuple[str, set[str]]:
    """Return the name of the corpus that lies there and its sources, '' and {} if it only began.

    Raises:
        CorpusError: if there is none.
    """
    recipe = _recipe_there(store)
    if store.exists(PLAN):
        sources = set(published_plan(store))
    elif recipe and own_sidecar(store, "sources", "00000.parquet") is not None:  # the plan is lost
        sources = {source["name"] for source in recipe["sources"]}
    else:
        raise CorpusError(
            f"{store.root}: holds {_some(found)}, and is no corpus of this program; {ELSEWHERE}"
        )
    return str(recipe.get("name", "")), sources


def _recipe_there(store: Storage) -> dict[str, Any]:
    """Read the recipe of a corpus, as far as it can be read; {} if it cannot."""
    try:
        data: Any = yaml.safe_load(store.read(RECIPE))
        return data if all("name" in source for source in data["sources"]) else {}
    except (FileNotFoundError, yaml.YAMLError, TypeError, KeyError, ValueError):
        return {}


def _check_parents(store: Storage) -> None:
    """Refuse a new corpus inside another one, which would take its files for strays."""
    fs, path = store.locate("")
    path = path.rstrip("/")
    while (parent := posixpath.dirname(path)) not in (path, "", "/"):
        if fs.exists(f"{parent}/{PLAN}") and fs.exists(f"{parent}/{RECIPE}"):
            raise CorpusError(f"{store.root}: lies inside the corpus {parent}; {ELSEWHERE}")
        path = parent


def _check_sources(recipe: Recipe, store: Storage) -> None:
    out = _place(store.root)
    for each in recipe.sources:
        source = each.of if each.kind == "edits" else each
        of_folder = source.kind in ("folder", "huggingface")
        if source.kind == "huggingface" and not os.path.isdir(source.path):
            continue  # a name on the Hub
        paths = {"path": source.path}
        if source.kind == "folder" and source.list:
            paths["list"] = source.list
        for key, path in paths.items():
            if why := _overlap(path, out, is_folder=of_folder and key == "path"):
                raise CorpusError(
                    f"sources.{each.name}.{key}: {path}: {why} --out {store.root}; give --out a "
                    "folder beside it"
                )


def _overlap(path: str, out: tuple[str, str], *, is_folder: bool) -> str:
    """Say how what a source reads and what a build writes would meet; '' if they do not."""
    fixed, rest = _without_wildcards(path)
    protocol, place = _place(fixed)
    if protocol != out[0]:
        return ""
    if place == out[1] and is_folder:
        return "is"
    if place.startswith(f"{out[1]}/") or (place == out[1] and rest):
        return "lies in"
    below = f"{out[1]}/".removeprefix(f"{place}/").strip("/")
    if f"{out[1]}/".startswith(f"{place}/") and (
        is_folder or (rest and _reaches(rest, below.split("/")))
    ):
        return "holds" if is_folder else "would match files of"
    return ""


def _reaches(pattern: str, folders: list[str]) -> bool:
    """Whether a glob matches files below a folder: in it, or in a folder of it.

    >>> _reaches("*.csv", ["out"]), _reaches("*/*/*.tar", ["out"]), _reaches("**/*.tar", ["out"])
    (False, True, True)
    """
    parts = pattern.split("/")
    for number, folder in enumerate(folders):
        if number >= len(parts) - 1:
            return False
        if parts[number] == "**":
            return True
        if not fnmatchcase(folder, parts[number]):
            return False
    rest = parts[len(folders) :]
    return len(rest) > 1 or "**" in rest


def _without_wildcards(path: str) -> tuple[str, str]:
    """Split a path at the last folder before its first wildcard.

    >>> _without_wildcards("data/*/a.csv"), _without_wildcards("data/a.csv")
    (('data', '*/a.csv'), ('data/a.csv', ''))
    """
    if os.path.lexists(path):
        return path, ""
    first = min((path.index(mark) for mark in WILDCARDS if mark in path), default=len(path))
    if first == len(path):
        return path, ""
    cut = path.rfind("/", 0, first)
    return path[: max(cut, 0)] or "/", path[cut + 1 :]


def _place(url: str) -> tuple[str, str]:
    """Return what tells places apart: the file system, and the path with links followed."""
    if "::" in url:
        return "chained", url
    fs, path = open_fs(url)
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    return protocol, (os.path.realpath(path) if protocol in ("file", "local") else path).rstrip("/")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN:,} more" if len(names) > SHOWN else shown


@contextmanager
def refused_leaves_nothing(store: Storage) -> Iterator[Callable[[], None]]:
    """Leave no trace of a build that is refused; yield a function that marks it as begun.

    It goes around the lock, and removes only what was not there before: the lock's file, the plan
    of nothing, and folders, if they are empty.
    """
    known, locked = store.exists(PLAN), store.exists(LOCK_NAME)
    claimed = store.exists(CLAIMS)
    made = _missing_folders(store) if store.is_local else []
    begun: list[bool] = []
    try:
        yield lambda: begun.append(True)
    except BaseException:
        if not known and not begun and not published_plan(store):
            store.remove(PLAN)
            if not claimed:
                store.remove(CLAIMS)
            if store.is_local and not locked:
                store.remove(LOCK_NAME)
            for folder in made:
                with suppress(OSError):  # something lies there, or it was never made
                    os.rmdir(folder)
        raise


def _missing_folders(store: Storage) -> list[str]:
    """List the folders that are made for a plan, the deepest first."""
    folder = os.path.dirname(store.locate(PLAN)[1])
    missing: list[str] = []
    while not os.path.lexists(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    return missing
