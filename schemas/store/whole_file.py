"""Atomic writing of local files: written under a temporary name, then renamed."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

# Prefix of temporary names; a crash may leave such a file, but nothing reads it.
TEMPORARY_PREFIX = ".partial-"
_TEMPORARY = re.compile(re.escape(TEMPORARY_PREFIX) + "[0-9a-f]{32}")


def publish(path: Path, data: bytes) -> None:
    """Write a local file atomically; its folder must exist."""
    with published(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def published(path: Path) -> Iterator[Path]:
    """Yield a temporary path, and rename it to the final one if the block succeeds."""
    # Not with tempfile, because it ignores the umask: nobody else could read its files.
    temporary = path.with_name(temporary_name())
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())  # otherwise the file could be empty after a power cut
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def temporary_name() -> str:
    """Return a new temporary name."""
    return f"{TEMPORARY_PREFIX}{uuid4().hex}"


def is_temporary(name: str) -> bool:
    """Return whether a name is a temporary name of this module.

    >>> is_temporary(".partial-" + 8 * "01ab"), is_temporary(".partial-notes")
    (True, False)
    """
    return _TEMPORARY.fullmatch(name) is not None
