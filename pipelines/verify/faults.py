"""Faults: how checks report them, and how damage in a file becomes a fault in one line."""

import errno
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from schemas.store.errors import CorpusError, NotLookedError, StoreError

MAX_FAULTS = 20  # a file; one more line counts the rest
MAX_CHARS = 500  # a fault
# Errors of this machine, not of the corpus: disk, open files or memory is used up.
_MACHINE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class Fault(NamedTuple):
    """A difference between a file and the file that the build wrote."""

    file: str  # relative to the corpus
    what: str

    def __str__(self) -> str:
        return f"{printable(self.file)}: {printable(self.what)}"


def printable(text: str) -> str:
    r"""Return a text on one line, cut after `MAX_CHARS` characters.

    >>> printable("two\nlines\x1b[2J")
    'two\\nlines\\x1b[2J'
    """
    shown = text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}..."
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown)


def guarded(file: str, check: Callable[..., Iterable[Fault]], *given: Any) -> list[Fault]:
    """Run a check of a file; an error that stops the check becomes a fault of the file.

    Raises:
        NotLookedError, StoreError: the corpus cannot be read at all.
    """
    found: list[Fault] = []
    try:
        for fault in check(*given):
            found.append(fault)
    except (NotLookedError, StoreError):
        raise
    except OSError as error:
        if error.errno in _MACHINE_ERRORS:
            raise NotLookedError(str(error)) from error
        found.append(Fault(file, explain(file, error)))
    # A damaged file can make parsers and our own code raise any exception.
    except Exception as error:
        found.append(Fault(file, explain(file, error)))
    return found


def explain(file: str, error: Exception) -> str:
    """Describe an error of a file in one line."""
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be read: {error.strerror}"
    if isinstance(error, CorpusError):
        return str(error).removeprefix(f"{file}: ")
    return f"damaged: {type(error).__name__}: {error}"


def capped(faults: Iterable[Fault]) -> list[Fault]:
    """Keep the first `MAX_FAULTS` different faults of a file; add a line that counts the rest."""
    kept: dict[Fault, None] = {}
    more: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    for fault in faults:
        if fault in kept:
            continue
        if shown[fault.file] < MAX_FAULTS:
            kept[fault] = None
            shown[fault.file] += 1
        else:
            more[fault.file] += 1
    return [*kept, *(Fault(file, f"{count:,} more faults") for file, count in more.items())]


def differences(found: Any, expected: Any, path: str = "") -> Iterator[str]:
    """Yield where two values read from JSON differ; types count, so True and 1.0 are not 1.

    >>> list(differences({"a": [1, 2], "b": 1}, {"a": [1, 3], "c": 1}))
    ['a.1 is 2, expected 3', 'b is not expected', 'c is missing']
    """
    if type(found) is not type(expected):
        yield f"{path or 'it'} is {found!r:.100}, expected {expected!r:.100}"
    elif isinstance(expected, dict):
        for name in sorted({*found, *expected}, key=str):
            here = f"{path}.{name}".removeprefix(".")
            if name not in found:
                yield f"{here} is missing"
            elif name not in expected:
                yield f"{here} is not expected"
            else:
                yield from differences(found[name], expected[name], here)
    elif isinstance(expected, list):
        if len(found) != len(expected):
            yield f"{path or 'it'} has {len(found):,} items, expected {len(expected):,}"
        for number, (a, b) in enumerate(zip(found, expected, strict=False)):
            yield from differences(a, b, f"{path}.{number}".removeprefix("."))
    elif found != expected:
        yield f"{path or 'it'} is {found!r:.100}, expected {expected!r:.100}"
