"""A parser of command lines that suggests similar names, and prints the version."""

import argparse
import difflib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Flags of earlier releases, and their present names.
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
    """Replace flags of earlier releases by their present names, with a message on stderr.

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
    """Refuse an unknown option and suggest a similar one; exits with 2.

    Without this, argparse would only report a misspelt required option as missing.
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
    """Return a hint for the end of an error message; '' if no allowed name is similar.

    >>> meant("biuld", ["build", "verify"])
    '; did you mean build?'
    """
    near = difflib.get_close_matches(found, list(allowed), n=1)
    return f"; did you mean {near[0]}?" if near else ""


class ShowVersion(argparse.Action):
    """Prints the version of the installed package."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print the version, and exit."""
        from importlib.metadata import version

        print(f"{parser.prog} {version('vargpt-corpus')}")
        parser.exit()


class PrintCompletion(argparse.Action):
    """Prints a shell's script for completing commands and options."""

    def __call__(self, parser: argparse.ArgumentParser, _: Any, values: Any, *__: Any) -> None:
        """Print the script, and exit."""
        import shtab

        print(shtab.complete(parser, values))
        parser.exit()
