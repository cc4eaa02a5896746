"""build, the command: its options, and what it prints at its end."""

import argparse

from pipelines.cli.arguments import meant
from pipelines.cli.option_types import place, positive
from pipelines.stage_table import STAGES, retried_stages

ENGINES = ("local", "dataflow", "flink", "prism", "spark")  # as their data files are named


def add_build(parser: argparse.ArgumentParser) -> None:
    """Add the options of `build`."""
    parser.usage = "vargpt-corpus build RECIPE --out URL [options] [-- BEAM OPTIONS]"
    parser.epilog = "Options after -- go to Beam and win over those of the engine's profile."
    parser.add_argument("recipe", type=place, metavar="RECIPE", help="YAML file, any fsspec URL")
    parser.add_argument(
        "--out",
        required=True,
        type=place,
        metavar="URL",
        help="folder of the corpus: empty, not there yet, or of an earlier build of it",
    )
    add_overrides(parser)
    add_engine(parser)
    parser.add_argument(
        "--retry-failed",
        action="append",
        default=[],
        type=_retried,
        metavar="STAGE",
        help="try rows again that failed temporarily in this stage: an outage, a time-out, a "
        "killed worker; may be given several times",
    )
    parser.add_argument(
        "--allow-shrink",
        action="store_true",
        help="go on where the sources have lost more than a tenth of all rows together, or one of "
        "them all of its own",
    )
    parser.add_argument(
        "--until", default="", choices=STAGES, metavar="STAGE", help="stop when this one is done"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="say what would be done and why, and what would be removed; touch nothing",
    )
    add_force_unlock(parser)
    add_loudness(parser)


def _retried(stage: str) -> str:
    """Return a stage whose failed rows may succeed another time, or refuse it."""
    allowed = retried_stages()
    if stage in allowed:
        return stage
    raise argparse.ArgumentTypeError(
        f"expected one of {', '.join(allowed)}, got {stage!r}{meant(stage, allowed)}"
    )


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add --set."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        dest="overrides",
        help="change a value of the recipe, e.g. select.short_side.min=384",
    )


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where a job runs."""
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
        help="worker processes here (default: one a core)",
    )


def add_force_unlock(parser: argparse.ArgumentParser) -> None:
    """Add --force-unlock."""
    parser.add_argument(
        "--force-unlock",
        action="store_true",
        help="break the lock of another command on the folder; only if that one is dead",
    )


def add_loudness(parser: argparse.ArgumentParser) -> None:
    """Add -q and -v."""
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument(
        "-q", "--quiet", action="store_true", help="print errors and the last line only"
    )
    loudness.add_argument(
        "-v", "--verbose", action="store_true", help="print more, Beam's own log among it"
    )


def run(options: argparse.Namespace) -> int:
    """Build a corpus, or say what a build would do."""
    from pipelines.engines.engine import Engine
    from schemas.recipe_file import load_recipe

    recipe = load_recipe(options.recipe, options.overrides)
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
