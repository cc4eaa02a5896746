"""The command line. Nothing heavy is imported before a command needs it."""

import argparse
import importlib
import logging
import os
import select
import sys
from collections.abc import Callable, Mapping, Sequence

from pipelines.cli.arguments import (
    Parser,
    PrintCompletion,
    ShowVersion,
    check_flags,
    commands_of,
    meant,
    renamed,
)
from pipelines.cli.build import add_build
from pipelines.cli.calibrate import add_calibrate
from pipelines.cli.caption_batches import add_caption
from pipelines.cli.export import add_export
from pipelines.cli.mix import add_mix
from pipelines.cli.preferences import add_compare, add_preferences
from pipelines.cli.recipe import add_recipe
from pipelines.cli.train import (
    add_train,
    add_train_captioner,
    add_train_clip,
    add_train_tokenizer,
)
from pipelines.cli.verify import add_verify
from pipelines.cli.what_if import add_what_if
from pipelines.stage_table import STAGES, about

STDOUT = 1
EX_PIPE = 141  # exit code of a program that SIGPIPE ends


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 0 done, 1 an error that the user can fix, 2 usage."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    mark = given.index("--") if "--" in given else len(given)
    parser = _parser()
    given = [*renamed(given[:mark]), *given[mark:]]
    check_flags(parser, given[:mark])
    options, unknown = parser.parse_known_args(given[:mark])
    command = commands_of(parser)[options.command]
    if unknown:
        named = (name for action in command._actions for name in action.option_strings)
        command.error(f"unknown argument {unknown[0]!r}{meant(unknown[0], named)}")
    options.beam_options = tuple(given[mark + 1 :])
    options.given = given
    if options.beam_options and options.command not in ("build", "preferences"):
        command.error("only build and preferences take Beam options after --")
    logging.basicConfig(level=logging.CRITICAL)
    if options.beam_options:
        _check_beam_options(command, options)
    from pipelines.runtime.console import listen
    from schemas.store.errors import UserError

    listen(quiet=getattr(options, "quiet", False), verbose=getattr(options, "verbose", False))
    try:
        code = _RUNS[options.command](options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        if not _is_unread():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
        return EX_PIPE
    except UserError as error:
        print(f"vargpt-corpus: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno is None:
            raise
        what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        print(f"vargpt-corpus: {what}; nothing committed is lost", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("vargpt-corpus: stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _check_beam_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse words after -- that are no Beam options; exits with 2."""
    from pipelines.cli.beam_options import check_beam_options
    from pipelines.engines.engine import Engine
    from pipelines.engines.profile import parse_options
    from schemas.store.errors import CorpusError

    ours = {name for action in parser._actions for name in action.option_strings}
    try:
        runner = parse_options(Engine.of(options).arguments).get("runner", "")
        check_beam_options(options.beam_options, runner, ours)
    except CorpusError as error:
        parser.error(str(error))


def _is_unread() -> bool:
    """Return whether the reader of our output has closed the pipe, as `head` does."""
    poll = select.poll()
    poll.register(STDOUT, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


class _Parser(Parser):
    """The parser of all commands; its help ends with the stages of a build."""

    def format_help(self) -> str:
        stages = "".join(f"  {name:<10} {about(name)}\n" for name in STAGES)
        fresh = "A stage runs again only if its part of the recipe or its input has changed."
        return f"{super().format_help()}\nstages of a build, in order:\n{stages}\n{fresh}\n"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="vargpt-corpus",
        description="Build corpora of images, instructions and VQ tokens from lists of URLs.",
    )
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="print the version and exit")
    parser.add_argument(
        "--print-completion",
        action=PrintCompletion,
        choices=("bash", "zsh", "tcsh"),
        help="print a script that completes commands and options in a shell, and exit",
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=Parser
    )
    add_build(commands.add_parser("build", help="build a corpus from a recipe, or update it"))
    commands.add_parser("engines", help="list the engines for a build, and what each needs")
    verify = commands.add_parser("verify", help="re-read a corpus and report every fault")
    add_verify(verify)
    add_what_if(
        commands.add_parser(
            "what-if", help="say what other rules, caps and quotas would keep, without a build"
        )
    )
    add_calibrate(
        commands.add_parser(
            "calibrate", help="have a sample labelled, and say how well a rule agrees with people"
        )
    )
    add_caption(
        commands.add_parser(
            "caption", help="write the requests for captions to batch files, and take the answers"
        )
    )
    add_recipe(commands.add_parser("recipe", help="check a recipe and print it with all defaults"))
    add_train_tokenizer(
        commands.add_parser(
            "train-tokenizer", help="train a tokenizer on folders or shards of images"
        )
    )
    add_train_clip(
        commands.add_parser("train-clip", help="train a small CLIP on lists of images with titles")
    )
    add_train_captioner(
        commands.add_parser(
            "train-captioner", help="train a small captioner on lists of images with titles"
        )
    )
    add_train(commands.add_parser("train", help="train a VARGPT on built corpora, stage by stage"))
    add_mix(
        commands.add_parser(
            "mix", help="say what stages of training draw from corpora: shares, epochs, codes"
        )
    )
    add_preferences(
        commands.add_parser(
            "preferences",
            help="generate images for prompts with a model, and make preference pairs",
            usage="vargpt-corpus preferences --model DIR --out URL [options] [-- BEAM OPTIONS]",
            epilog="After a kill, the same command resumes after the last written shard.",
        )
    )
    add_compare(
        commands.add_parser(
            "compare",
            help="generate held-out prompts with two models, and test whether the second is better",
        )
    )
    add_export(
        commands.add_parser(
            "export", help="write a corpus in the format of another trainer or reader of tables"
        )
    )
    return parser


def _run(module: str) -> Callable[[argparse.Namespace], int]:
    """Return a function that imports a module and calls its `run`."""
    return lambda options: importlib.import_module(module).run(options)


def _run_of_train(module: str) -> Callable[[argparse.Namespace], int]:
    """Return the same as `_run` for a module that needs the extra `train`."""

    def run(options: argparse.Namespace) -> int:
        from schemas.store.errors import CorpusError

        try:
            imported = importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise CorpusError(f"{error}; pip install 'vargpt-corpus[train]'") from error
        return imported.run(options)

    return run


def _verify(options: argparse.Namespace) -> int:
    from pipelines.cli.verify import run

    return run(options)


def _engines(options: argparse.Namespace) -> int:
    from pipelines.engines.profile import engine_names, load_profile

    for profile in map(load_profile, engine_names()):
        missing = profile.missing(profile.arguments(processes=1))
        print(f"{profile.name:<10}{'needs:' if missing else 'ready':<8}{profile.about}")
        for line in missing:
            print(f"{'':<18}- {line}")
    return 0


_RUNS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "build": _run("pipelines.cli.build"),
    "verify": _verify,
    "what-if": _run("pipelines.cli.what_if"),
    "caption": _run("pipelines.cli.caption_batches"),
    "calibrate": _run("pipelines.cli.calibrate"),
    "recipe": _run("pipelines.cli.recipe"),
    "engines": _engines,
    "train-tokenizer": _run_of_train("pipelines.training.train_tokenizer"),
    "train-clip": _run_of_train("pipelines.training.train_clip"),
    "train-captioner": _run_of_train("pipelines.training.train_captioner"),
    "preferences": _run_of_train("pipelines.preferences.commands"),
    "compare": _run_of_train("pipelines.preferences.compare"),
    "export": _run("pipelines.cli.export"),
    "train": _run_of_train("pipelines.training.train"),
    "mix": _run_of_train("pipelines.cli.mix"),
}


if __name__ == "__main__":
    sys.exit(main())
