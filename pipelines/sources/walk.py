"""Walk through a local folder: every file once, links as in the recipe, no endless loops."""

import os
import os.path
from collections import Counter
from collections.abc import Iterator

from pipelines.sources.links import LOOP, NEVER, OUTSIDE, is_inside
from pipelines.sources.listing import storable
from pipelines.sources.names import LINK_TO_FOLDER, what_folder_is
from schemas.source_config import Links
from schemas.store.storage import CorpusError

AGAIN = "whose files are read elsewhere in the source"


def walk(
    root: str, links: Links, passed_over: Counter[str], *, hidden: bool = False
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield the files below a folder: (path below the folder, entry), in no order.

    A folder with several links to it is entered once, by the first name; real folders come before
    links.

    Args:
        root: folder.
        links: which linked folders are entered.
        passed_over: counts the folders that are not entered.
        hidden: enter hidden folders.

    Raises:
        CorpusError: a folder cannot be listed.
    """
    real_root = os.path.realpath(root)
    entered: set[tuple[int, int]] = set()
    folders, linked = [""], list[str]()
    while folders or linked:
        if not folders:
            linked.sort(reverse=True)
            folder = linked.pop()
            if what := _why_not(real_root, folder, links, entered):
                passed_over[f"{LINK_TO_FOLDER} {what}"] += 1
                continue
            folders.append(folder)
        folder = folders.pop()
        if not _enter(os.path.join(root, folder), entered):
            continue
        for entry in _entries(os.path.join(root, folder)):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if not _is_folder(entry):
                yield path, entry
            elif (what := what_folder_is(entry.name)) and not hidden:
                passed_over[what] += 1
            else:
                (linked if entry.is_symlink() else folders).append(path)


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise CorpusError(
            f"{storable(folder)}: this folder cannot be listed: {error.strerror}; "
            "give yourself the right, or move it out of the source"
        ) from error


def _enter(folder: str, entered: set[tuple[int, int]]) -> bool:
    """Mark a folder as entered; return False if it was entered before."""
    try:
        info = os.stat(folder)
    except OSError as error:
        message = f"{storable(folder)}: this folder cannot be entered: {error.strerror}"
        raise CorpusError(message) from error
    place = (info.st_dev, info.st_ino)
    is_new = place not in entered
    entered.add(place)
    return is_new


def _why_not(real_root: str, folder: str, links: Links, entered: set[tuple[int, int]]) -> str:
    """Return the reason why a linked folder is not entered, '' if it is entered."""
    path = os.path.join(real_root, folder)
    if links == "never":
        return f"that {NEVER}"
    if links == "inside" and not is_inside(os.path.realpath(path), real_root):
        return f"that {OUTSIDE}"
    try:
        info = os.stat(path)
    except OSError:  # it was a folder a moment ago
        return f"that {LOOP}"
    return AGAIN if (info.st_dev, info.st_ino) in entered else ""


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or no permission
        return False
