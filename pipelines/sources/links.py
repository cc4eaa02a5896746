"""Symbolic links of a local folder: which are followed, and the errors of the others."""

import errno
import os
import os.path
import stat
from typing import NamedTuple

from schemas.source_config import Links

OUTSIDE = "leads out of the source's folder (set links: follow to read it)"
NEVER = "is not followed, as links: never says (set inside or follow to read it)"
GONE = "has no target (fetch what it stands for, as by git annex get or dvc pull)"
LOOP = "leads back to itself"

MOST_POINTER_BYTES = 1024
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EISDIR)


class Fault(NamedTuple):
    """The reason why a file of a folder is not read."""

    reason: str  # stable class
    what: str  # text to follow the file name


def not_followed(real_root: str, path: str, links: Links) -> str:
    """Return the reason why a path is not followed; '' if it has no link or may be followed.

    Args:
        real_root: real path of the source's folder.
        path: path below the folder.
        links: the recipe's key.
    """
    full = os.path.join(real_root, path)
    real = os.path.realpath(full)
    if real == os.path.normpath(full):
        return ""
    if links == "never":
        return NEVER
    return OUTSIDE if links == "inside" and not is_inside(real, real_root) else ""


def link_fault(real_root: str, path: str, links: Links) -> Fault | None:
    """Return the result of `not_followed` as a Fault, or None."""
    if why := not_followed(real_root, path, links):
        return Fault("link_not_followed", f"a link {_to(real_root, path)}that {why}")
    return None


def is_inside(real: str, real_root: str) -> bool:
    """Return whether a real path is another real path or below it."""
    return real == real_root or real.startswith(f"{real_root.rstrip('/')}/")


def read_file(
    real_root: str, path: str, most_bytes: int, links: Links
) -> tuple[int, bytes] | Fault:
    """Return the size of a file and its bytes, up to one more than `most_bytes`.

    Links are checked again, and pipes and devices are not opened, because the folder may have
    changed since it was listed.
    """
    if fault := link_fault(real_root, path, links):
        return fault
    full = os.path.join(real_root, path)
    real = os.path.realpath(full)
    try:
        if not stat.S_ISREG(os.stat(real).st_mode):  # opening a device may have an effect
            return Fault("missing_file", "no regular file")
        with open(os.open(real, os.O_RDONLY | _NO_FOLLOW), "rb") as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode) or os.path.realpath(full) != real:
                return Fault("missing_file", "changed while it was opened; build again")
            return info.st_size, file.read(most_bytes + 1)
    except OSError as error:
        if (fault := file_fault(error, os.path.islink(full))) is None:
            raise
        return fault


def file_fault(error: OSError, is_link: bool) -> Fault | None:
    """Return the fault of a file that cannot be opened; None for errors of the system."""
    if error.errno == errno.ELOOP:
        return Fault("missing_file", f"a link that {LOOP}")
    if error.errno in _NO_FILE:
        return Fault("missing_file", f"a link that {GONE}" if is_link else "no such file")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EIO):
        return Fault("unreadable_file", f"{os.strerror(error.errno)}; give yourself the right")
    return None


def pointer_fault(body: bytes) -> Fault | None:
    """Return a fault if a file is only a pointer to the real file, else None.

    Git LFS and git-annex leave such small texts for files that were not fetched, and git itself for
    links that it could not make.
    """
    if body.startswith(b"version https://git-lfs"):
        return Fault("missing_file", "a pointer of Git LFS, not the file; run git lfs pull")
    if len(body) > MOST_POINTER_BYTES or b"/" not in body or not body.isascii():
        return None
    text = body.decode().strip()
    if "annex/objects/" in text and text.isprintable():
        return Fault("missing_file", "a pointer of git-annex, not the file; run git annex get")
    if text.isprintable() and text.startswith(("../", "./")):
        what = f"a link to {text} that git or an archive left as text; make it a link again"
        return Fault("missing_file", what)
    return None


def _to(root: str, path: str) -> str:
    """Return the target of a link as `to TARGET `; '' if the path itself is no link."""
    try:
        return f"to {os.readlink(os.path.join(root, path))} "
    except OSError:  # a folder on its way is the link
        return ""
