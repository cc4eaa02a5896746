"""Options after `--` are looked at before any work: Beam only drops the words it does not know."""

import argparse
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from typing import Any, NoReturn

from pipelines.cli.arguments import meant
from pipelines.engines.profile import check_prefixes, options_of, parse_options
from pipelines.stage_table import JOBS
from schemas.store.errors import CorpusError

# Runners that only know all of their options once they run, and those of their own versions.
ELSEWHERE = ("flink", "spark", "portable", "prism", "dataflow")


def check_beam_options(given: Sequence[str], runner: str, ours: Collection[str]) -> None:
    """Refuse what no option of Beam is.

    Args:
        given: the words after `--`.
        runner: its name; where it is one that has options of its own, only words that are certain
            to be wrong are refused.
        ours: the options of the command, which stand before `--`.

    Raises:
        CorpusError: naming the first such word.
    """
    check_prefixes(given, JOBS)
    words = options_of(JOBS, given)
    parser = _parser()
    unknown = parser.parse_known_args(list(words))[1]
    lenient = parse_options(given).get("runner", runner).lower().startswith(ELSEWHERE)
    for word in _strays(unknown, ours) if lenient else unknown:
        raise CorpusError(f"after --: {_said(word, ours, parser)}")


def _strays(unknown: Sequence[str], ours: Collection[str]) -> Iterator[str]:
    """Yield options of the command itself, and words that are no option's value."""
    value_may_follow = False
    for word in unknown:
        is_option = word.startswith("-")
        if word.partition("=")[0] in ours if is_option else not value_may_follow:
            yield word
        value_may_follow = is_option and "=" not in word


def _said(word: str, ours: Collection[str], parser: argparse.ArgumentParser) -> str:
    if not word.startswith("-"):
        return f"{word!r} is no option; Beam's are written --name=value"
    name = word.partition("=")[0]
    if name in ours:
        return f"{name} is an option of this command; write it before --"
    hint = meant(name, [text for action in parser._actions for text in action.option_strings])
    return f"{name} is no option of Beam{hint}"


class _Parser(argparse.ArgumentParser):
    """Beam's options; a wrong value of one is an error of ours, without Beam's long usage."""

    def add_value_provider_argument(self, *names: str, **settings: Any) -> None:
        """Add an option whose value may come at run time."""
        self.add_argument(*names, **settings)

    def error(self, message: str) -> NoReturn:
        raise CorpusError(f"after --: {message}")


@cache
def _parser() -> argparse.ArgumentParser:
    from apache_beam.options.pipeline_options import PipelineOptions

    parser: Any = _Parser(add_help=False, allow_abbrev=False)
    # A class that is defined twice, as in a notebook, counts once.
    for options in {str(found): found for found in PipelineOptions.__subclasses__()}.values():
        options._add_argparse_args(parser)
    return parser
