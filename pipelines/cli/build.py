"""The command `build`: its options and its output."""

import argparse
from typing import TYPE_CHECKING

from pipelines.cli.arguments import meant
from pipelines.cli.option_types import place, positive
from pipelines.stage_table import STAGES, retried_stages

if TYPE_CHECKING:
    from schemas.recipe import Recipe

ENGINES = ("local", "dataflow", "flink", "prism", "spark")  # names of their data files


def add_build(parser: argparse.ArgumentParser) -> None:
    """Add the options of `build`."""
    parser.usage = "vargpt-corpus build RECIPE --out URL [options] [-- BEAM OPTIONS]"
    parser.epilog = "Options after -- go to Beam and override those of the engine's profile."
    parser.add_argument("recipe", type=place, metavar="RECIPE", help="YAML file, any fsspec URL")
    parser.add_argument(
        "--out",
        required=True,
        type=place,
        metavar="URL",
        help="folder of the corpus: empty, new, or of an earlier build of it",
    )
    add_overrides(parser)
    add_engine(parser)
    parser.add_argument(
        "--retry-failed",
        action="append",
        default=[],
        type=_retried,
        metavar="STAGE",
        help="retry rows that failed temporarily in this stage: an outage, a time-out, a killed "
        "worker; may be repeated",
    )
    parser.add_argument(
        "--allow-shrink",
        action="store_true",
        help="continue even if the sources lost more than a tenth of all rows together, or one of "
        "them all of its own",
    )
    parser.add_argument(
        "--until", default="", choices=STAGES, metavar="STAGE", help="stop when this one is done"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print what a build would do and why, and what it would remove; change nothing. Where "
        "sources or files are missing, print all of them and exit with 1",
    )
    add_force_unlock(parser)
    add_loudness(parser)


def _retried(stage: str) -> str:
    """Check that failed rows of a stage can be retried, and return the stage."""
    allowed = retried_stages()
    if stage in allowed:
        return stage
    raise argparse.ArgumentTypeError(
        f"expected one of {', '.join(allowed)}, got {stage!r}{meant(stage, allowed)}"
    )


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add --patch and --set."""
    parser.add_argument(
        "--patch",
        type=place,
        metavar="FILE",
        help="change values of the recipe as a file of what-if --save says",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        dest="overrides",
        help="change a value of the recipe, e.g. select.short_side.min=384",
    )


def read_recipe(options: argparse.Namespace) -> "Recipe":
    """Read the recipe of a command line, with its changes.

    Raises:
        RecipeError: the recipe or the patch cannot be used.
    """
    from schemas.recipe_file import load_recipe, read_patch

    patch = read_patch(options.patch) if options.patch else {}
    return load_recipe(options.recipe, options.overrides, patch)


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add the options for the engine of a job."""
    parser.add_argument(
        "--engine",
        default="local",
        choices=ENGINES,
        metavar="NAME",
        help="one of `vargpt-corpus engines`",
    )
    parser.add_argument(
        "--processes",
        type=positive,
        metavar="N",
        help="local worker processes (default: one per core)",
    )


def add_force_unlock(parser: argparse.ArgumentParser) -> None:
    """Add --force-unlock."""
    parser.add_argument(
        "--force-unlock",
        action="store_true",
        help="break the lock of another command on the folder; only if that command is dead",
    )


def add_loudness(parser: argparse.ArgumentParser) -> None:
    """Add -q and -v."""
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument(
        "-q", "--quiet", action="store_true", help="print errors and the last line only"
    )
    loudness.add_argument(
        "-v", "--verbose", action="store_true", help="print more, including Beam's log"
    )


def run(options: argparse.Namespace) -> int:
    """Build a corpus, or print what a build would do."""
    from pipelines.engines.engine import Engine

    recipe = read_recipe(options)
    if options.dry_run:
        from pipelines.dry_run import dry_run

        return dry_run(
            recipe,
            options.out,
            retry_failed=options.retry_failed,
            allow_shrink=options.allow_shrink,
            until=options.until,
        )
    from pipelines.build import build
    from pipelines.cli.funnel import print_funnel, print_last_line

    manifest = build(
        recipe,
        options.out,
        Engine.of(options),
        retry_failed=options.retry_failed,
        allow_shrink=options.allow_shrink,
        until=options.until,
        force_unlock=options.force_unlock,
    )
    (print_last_line if options.quiet else print_funnel)(manifest, options.out)
    return 0
