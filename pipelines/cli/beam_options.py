"""Check of the options after `--` before any work, because Beam ignores unknown words."""

import argparse
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from typing import Any, NoReturn

from pipelines.cli.arguments import meant
from pipelines.engines.profile import check_prefixes, options_of, parse_options
from pipelines.stage_table import JOBS
from schemas.store.errors import CorpusError

# Runners with options that are only known when they run, and depend on their version.
ELSEWHERE = ("flink", "spark", "portable", "prism", "dataflow")


def check_beam_options(given: Sequence[str], runner: str, ours: Collection[str]) -> None:
    """Check that the words after `--` are options of Beam.

    Args:
        given: the words after `--`.
        runner: name of the runner; for a runner with its own options, only words that are certainly
            wrong are refused.
        ours: the options of the command, which must be before `--`.

    Raises:
        CorpusError: a word is no option of Beam; names the first one.
    """
    check_prefixes(given, JOBS)
    words = options_of(JOBS, given)
    parser = _parser()
    unknown = parser.parse_known_args(list(words))[1]
    lenient = parse_options(given).get("runner", runner).lower().startswith(ELSEWHERE)
    for word in _strays(unknown, ours) if lenient else unknown:
        raise CorpusError(f"after --: {_message(word, ours, parser)}")


def _strays(unknown: Sequence[str], ours: Collection[str]) -> Iterator[str]:
    """Yield the command's own options, and words that are no value of an option."""
    value_may_follow = False
    for word in unknown:
        is_option = word.startswith("-")
        if word.partition("=")[0] in ours if is_option else not value_may_follow:
            yield word
        value_may_follow = is_option and "=" not in word


def _message(word: str, ours: Collection[str], parser: argparse.ArgumentParser) -> str:
    if not word.startswith("-"):
        return f"{word!r} is no option; Beam's are written --name=value"
    name = word.partition("=")[0]
    if name in ours:
        return f"{name} is an option of this command; write it before --"
    hint = meant(name, [text for action in parser._actions for text in action.option_strings])
    return f"{name} is no option of Beam{hint}"


class _Parser(argparse.ArgumentParser):
    """A parser of Beam's options; a wrong value raises CorpusError, without Beam's long usage."""

    def add_value_provider_argument(self, *names: str, **settings: Any) -> None:
        """Add an option with a value that may be given at run time."""
        self.add_argument(*names, **settings)

    def error(self, message: str) -> NoReturn:
        raise CorpusError(f"after --: {message}")


@cache
def _parser() -> argparse.ArgumentParser:
    from apache_beam.options.pipeline_options import PipelineOptions

    parser: Any = _Parser(add_help=False, allow_abbrev=False)
    # A class that is defined twice, as in a notebook, is used once.
    for options in {str(found): found for found in PipelineOptions.__subclasses__()}.values():
        options._add_argparse_args(parser)
    return parser
