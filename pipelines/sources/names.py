"""Kinds of files and members by their name: image, text, or the kind that they are counted as."""

import posixpath
import re

from pipelines.sources.listing import IMAGE_SUFFIXES, TEXT_SUFFIXES

IMAGE = "image"
TEXT = "text"

SYSTEM = "file of macOS or Windows (._*, .DS_Store, Thumbs.db)"
HIDDEN_FILE = "file in a hidden folder"
HIDDEN_FOLDER = "hidden folder"
NO_SUFFIX = "file without a suffix"
SPECIAL = "pipe, socket or device"
FURTHER_IMAGE = "further image of a sample"
FURTHER_TEXT = "further text of an image"
LINK_TO_FOLDER = "link to a folder"
LINK_TO_FILE = "link to a file"

_IMAGES = frozenset(IMAGE_SUFFIXES)
_SYSTEM_NAMES = (".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r")
_SYSTEM_FOLDERS = ("__macosx", "@eadir", "$recycle.bin", "system volume information")
_TAR = re.compile(r"\.(tar(\.[a-z0-9]+)?|tgz|tbz2?|txz|tzst)$")
_SHORT = re.compile(r"\.(?=.*[a-z])[a-z0-9_-]{1,12}")  # a suffix that is counted by name


def what_it_is(path: str) -> str:
    """Return the kind of a path below a source's root: IMAGE, TEXT, or a name for counts.

    >>> [what_it_is(path) for path in ("a.JFIF", "b.Txt", "c.svg", "._a.jpg", ".git/a.jpg", "d")]
    ... # doctest: +ELLIPSIS
    ['image', 'text', '.svg file', 'file of macOS...', 'file in a hidden folder', 'file without...']
    """
    folder, name = posixpath.split(path)
    folders = folder.split("/")
    if any(each.lower() in _SYSTEM_FOLDERS for each in folders):
        return SYSTEM
    if any(is_hidden(each) for each in folders) and not is_of_system(name):
        return HIDDEN_FILE
    return what_file_is(name)


def what_file_is(name: str) -> str:
    """Return the kind of a file name in any folder: IMAGE, TEXT, or a name for counts."""
    if is_of_system(name):
        return SYSTEM
    if tar := _TAR.search(name.lower()):
        return f"{tar[0]} file"
    suffix = suffix_of(name)
    if suffix in _IMAGES:
        return IMAGE
    if suffix in TEXT_SUFFIXES:
        return TEXT
    if len(suffix) < 2:
        return NO_SUFFIX
    return f"{suffix} file" if _SHORT.fullmatch(suffix) else "file with an odd suffix"


def what_folder_is(name: str) -> str:
    """Return the kind of a folder that is skipped, '' for a folder that is entered."""
    if name.lower() in _SYSTEM_FOLDERS:
        return f"{name} folder"
    return HIDDEN_FOLDER if is_hidden(name) else ""


def is_of_system(name: str) -> bool:
    """Return whether an operating system creates files with this name."""
    return name.startswith("._") or name.lower() in _SYSTEM_NAMES


def is_hidden(folder: str) -> bool:
    """Return whether a folder with this name is hidden, such as .git and .cache."""
    return folder.startswith(".") and folder not in (".", "..")


def suffix_of(name: str) -> str:
    """Return the suffix of a name in lower case, with its dot; '' if it has none."""
    return posixpath.splitext(name)[1].lower()


def shown(url: str) -> str:
    """Return a URL for messages: the path for a local file."""
    return url.removeprefix("file://")


def is_tar(name: str) -> bool:
    """Return whether a name is that of a tar, compressed or not.

    >>> is_tar("0.TAR"), is_tar("0.tar.zst"), is_tar("0.tgz"), is_tar("0.json")
    (True, True, True, False)
    """
    return bool(_TAR.search(name.lower()))


def as_other(path: str) -> str:
    """Return the kind of a file in a source without loose images and texts."""
    name = path.rpartition("/")[2]
    what = what_file_is(name)
    return f"{suffix_of(name)} file" if what in (IMAGE, TEXT) else what


def text_alone(name: str) -> str:
    """Return the kind of a text without an image."""
    return f"{suffix_of(name)} file without an image"
