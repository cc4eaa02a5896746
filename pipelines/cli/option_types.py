"""Types of values on the command line, which are checked before any work."""

import argparse
import os.path


def place(text: str) -> str:
    """Read a path or a URL; `~` is the user's home.

    >>> place("gs://bucket/corpus")
    'gs://bucket/corpus'
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a path or a URL, got an empty text")
    path = os.path.expanduser(text)
    if path.startswith("~"):
        raise argparse.ArgumentTypeError(
            f"{text}: there is no such user; write ./{text} for a name"
        )
    return path


def positive(text: str) -> int:
    """Read a whole number of 1 or more."""
    try:
        number = int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from error
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {number}")
    return number
