"""Local files that are whole under their name, or not there: written beside it, then renamed."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

# Written beside local files before they are renamed; a crash may leave one, nothing reads it.
TEMPORARY_PREFIX = ".partial-"
_TEMPORARY = re.compile(re.escape(TEMPORARY_PREFIX) + "[0-9a-f]{32}")


def publish(path: Path, data: bytes) -> None:
    """Write a local file whole under its name, or not at all; its folder exists."""
    with published(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def published(path: Path) -> Iterator[Path]:
    """Give a name beside the final one, and rename it to that if the body succeeds."""
    # Not by tempfile, whose files nobody else may read whatever the umask says.
    temporary = path.with_name(temporary_name())
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())  # or, after a power cut, the name could be there alone
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def temporary_name() -> str:
    """Return a name that nothing else has."""
    return f"{TEMPORARY_PREFIX}{uuid4().hex}"


def is_temporary(name: str) -> bool:
    """Whether a file or folder has a name that only this module gives.

    >>> is_temporary(".partial-" + 8 * "01ab"), is_temporary(".partial-notes")
    (True, False)
    """
    return _TEMPORARY.fullmatch(name) is not None
