"""What a command says on its way: lines on stderr, none of them with -q, more with -v."""

import logging
import sys


class _Stderr(logging.Handler):
    """Prints to stderr as it is at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


CONSOLE = logging.getLogger("vargpt-corpus")
CONSOLE.addHandler(_Stderr())
CONSOLE.propagate = False
CONSOLE.setLevel(logging.INFO)


def listen(*, quiet: bool = False, verbose: bool = False) -> None:
    """Choose what is said from here on."""
    CONSOLE.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)


def is_shown() -> bool:
    """Whether progress is shown."""
    return CONSOLE.isEnabledFor(logging.INFO)
