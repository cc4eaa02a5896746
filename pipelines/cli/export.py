"""The command `export`: its options and output."""

import argparse

from pipelines.cli.build import add_force_unlock
from pipelines.cli.option_types import place

FORMATS = ("llama-factory", "trl", "datasets", "parquet", "energon", "mds")


def add_export(parser: argparse.ArgumentParser) -> None:
    """Add the options of `export`."""
    parser.epilog = "After a kill, the same command resumes after the last written shard."
    parser.add_argument(
        "corpus", type=place, metavar="OUT", help="folder of a corpus, or of pairs; any fsspec URL"
    )
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument(
        "--to", required=True, type=place, metavar="DIR", help="folder; any fsspec URL"
    )
    parser.add_argument(
        "--subset",
        type=subset_names,
        default=(),
        metavar="NAMES",
        help="of the corpus, as t2i,edit (default: all)",
    )
    add_force_unlock(parser)


def subset_names(text: str) -> tuple[str, ...]:
    """Read names of subsets, separated by commas.

    >>> subset_names("t2i, edit")
    ('t2i', 'edit')
    """
    from schemas.subsets import SUBSETS

    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in SUBSETS:
            raise argparse.ArgumentTypeError(
                f"unknown subset {name!r}, expected names of {', '.join(SUBSETS)}"
            )
    return names


def run(options: argparse.Namespace) -> int:
    """Export a corpus and print a line for each subset."""
    from pipelines.export.formats import FORMATS as BY_NAME
    from pipelines.export.job import export
    from pipelines.runtime.counting import counted

    format_ = BY_NAME[options.format]
    counts = export(
        options.corpus, format_, options.to, options.subset, force_unlock=options.force_unlock
    )
    for count in counts:
        samples = counted(count.samples, "sample")
        if count.refusal:
            print(f"{count.subset}: {samples} not exported: {count.refusal}")
        else:
            shards = counted(count.written, "shard")
            there = f", {count.skipped:,} were there already" if count.skipped else ""
            print(f"{options.to}: {count.subset}: {samples}; {shards} written{there}")
    return 0
