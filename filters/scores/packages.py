"""Packages of scorers that are optional, and the models that some of them contain."""

import hashlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final

from filters.scorer import ScorerError

# OpenCV's package for desktops needs a library that servers and containers lack.
_HINTS: Final = {"libGL": "install the system's libGL (Debian: apt-get install libgl1)"}


@contextmanager
def packages_of(extra: str) -> Generator[None, None, None]:
    """Turn a failed import into an error that says what to install.

    Raises:
        ScorerError: a package of the extra is missing, or cannot be imported.
    """
    try:
        yield
    except ImportError as error:
        hints = [hint for word, hint in _HINTS.items() if word in str(error)]
        raise ScorerError(f"{error}; {(hints or [_install(extra)])[0]}") from error


def packaged_file(package: str, file: str) -> Path:
    """Return the path of a file of an installed package; the package is not imported.

    Args:
        package: its name on PyPI.
        file: path in the wheel.

    Raises:
        ScorerError: the package or its file is missing.
    """
    try:
        path = Path(str(distribution(package).locate_file(file)))
    except PackageNotFoundError as error:
        raise ScorerError(f"there is no package {package}; {_install('scores')}") from error
    if not path.is_file():
        raise ScorerError(f"{package} has no file {file}; install it again")
    return path


@cache
def package_identity(package: str, *files: str) -> Mapping[str, Any]:
    """Return what decides the scores of packaged models: name, version, sha256 of each file.

    Raises:
        ScorerError: the package or a file is missing.
    """
    hashes = [hashlib.sha256(packaged_file(package, file).read_bytes()) for file in files]
    return {
        "package": f"{package} {distribution(package).version}",
        "sha256": [each.hexdigest() for each in hashes],
    }


def _install(extra: str) -> str:
    return f"pip install 'vargpt-corpus[{extra}]'"
