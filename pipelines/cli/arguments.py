"""A parser of command lines that says what was probably meant, and knows its own version."""

import argparse
import difflib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Flags of earlier releases, and their names now.
RENAMED = {"--retry-dead": "--retry-failed", "--max-dead": "--max-failed"}


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors about a value suggest the nearest allowed one."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            hint = meant(str(value), map(str, action.choices or ()))
            raise argparse.ArgumentError(action, f"{error.message}{hint}") from None


def renamed(words: Iterable[str]) -> list[str]:
    """Put the names of today in the place of flags of earlier releases, and say so on stderr.

    >>> renamed(["--retry-failed", "crawl"])
    ['--retry-failed', 'crawl']
    """
    found: list[str] = []
    for word in words:
        flag, equals, value = word.partition("=")
        if flag in RENAMED:
            print(f"{flag} is now called {RENAMED[flag]}", file=sys.stderr)
            word = f"{RENAMED[flag]}{equals}{value}"
        found.append(word)
    return found


def check_flags(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Refuse an unknown option with the one that was probably meant; exits with 2.

    Else a required one that was misspelt would only be said to be missing.
    """
    commands = commands_of(parser)
    for word in words:
        if word in commands:
            parser, commands = commands[word], {}
        elif word.startswith("--"):
            flag = word.partition("=")[0]
            known = [name for action in parser._actions for name in action.option_strings]
            if not any(name.startswith(flag) for name in known):
                named = (name for name in known if name.startswith("--"))
                parser.error(f"unknown option {flag}{meant(flag, named)}")


def commands_of(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    """Return the parsers of a parser's commands, by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices
    return {}


def meant(found: str, allowed: Iterable[str]) -> str:
    """Return a question to stand at the end of an error; '' if nothing allowed is near.

    >>> meant("biuld", ["build", "verify"])
    '; did you mean build?'
    """
    near = difflib.get_close_matches(found, list(allowed), n=1)
    return f"; did you mean {near[0]}?" if near else ""


class ShowVersion(argparse.Action):
    """Prints the version of the installed package."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print it, and exit."""
        from importlib.metadata import version

        print(f"{parser.prog} {version('vargpt-corpus')}")
        parser.exit()


class PrintCompletion(argparse.Action):
    """Prints a shell's script for completing commands and options."""

    def __call__(self, parser: argparse.ArgumentParser, _: Any, values: Any, *__: Any) -> None:
        """Print it, and exit."""
        import shtab

        print(shtab.complete(parser, values))
        parser.exit()
