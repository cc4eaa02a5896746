"""The command `verify`: its options, output and exit code."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.cli.option_types import place, positive
from pipelines.runtime.counting import counted

if TYPE_CHECKING:
    from pipelines.verify.faults import Fault

EXIT_CODES = """\
exit code: 0 all is sound, 1 it has faults, 2 nothing could be checked (no finished build,
or a store that cannot be read)
"""


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Add the options of `verify`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXIT_CODES
    parser.add_argument(
        "out", type=place, metavar="OUT", help="folder of the corpus, or of pairs; any fsspec URL"
    )
    parser.add_argument(
        "--deep",
        action="store_true",
        help="also decode, measure and encode every image again; takes as long as the build, but "
        "for fetching; not of pairs",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--processes",
        type=positive,
        metavar="N",
        help="default: one per core; one for a small corpus",
    )


def run(options: argparse.Namespace) -> int:
    """Verify a corpus and print one line per fault."""
    from pipelines.verify.job import verify
    from schemas.store.errors import UserError
    from schemas.store.storage import Storage

    out = options.out
    try:
        faults = verify(Storage(out), processes=options.processes, deep=options.deep)
    except (UserError, OSError) as error:
        if options.json:
            print(json.dumps({"corpus": out, "deep": options.deep, "error": str(error)}))
        else:
            print(f"vargpt-corpus: {error}", file=sys.stderr)
        return 2
    if options.json:
        lines = [{"file": fault.file, "fault": fault.what} for fault in faults]
        result = {"corpus": out, "deep": options.deep, "sound": not faults, "faults": lines}
        print(json.dumps(result))
    else:
        for fault in faults:
            print(fault)
        print(f"{out}: {_summary(faults) if faults else 'verified, no fault'}")
    return 1 if faults else 0


def _summary(faults: "Sequence[Fault]") -> str:
    """Return the number of faults and a way to repair each kind."""
    repairs = dict.fromkeys(_repair(fault) for fault in faults)
    return "; ".join([counted(len(faults), "fault"), *filter(None, repairs)])


def _repair(fault: "Fault") -> str:
    """Return how to repair a fault; '' for one that says it itself.

    >>> from pipelines.verify.faults import Fault
    >>> _repair(Fault("shards/mine.txt", "stray: not of this folder"))
    'move stray files out of the folder'
    """
    file, what = fault
    if "run build again" in what:
        return ""
    if what.startswith("stray"):
        return "move stray files out of the folder"
    if "://" in file:
        return "restore the files of sources"
    return "remove damaged files, then run the command that made them: it makes what is missing"
