"""The command `caption`: requests and answers of batch files."""

import argparse
from pathlib import Path

from pipelines.cli.build import add_overrides
from pipelines.cli.option_types import place


def add_caption(parser: argparse.ArgumentParser) -> None:
    """Add the options of `caption`."""
    parser.add_argument("recipe", type=place, metavar="RECIPE", help="YAML file, any fsspec URL")
    parser.add_argument(
        "--out",
        type=place,
        required=True,
        metavar="OUT",
        help="folder of a corpus that was built until dedup, any fsspec URL",
    )
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument(
        "--emit-batch",
        type=Path,
        metavar="DIR",
        help="write the requests that wait as requests-NNNNN.jsonl into a local folder",
    )
    way.add_argument(
        "--take-batch",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="keep the answers of files; `build` then makes captions of them",
    )
    parser.add_argument(
        "--engine", default="", metavar="NAME", help="of the recipe (default: its first `openai`)"
    )
    add_overrides(parser)


def run(options: argparse.Namespace) -> int:
    """Write requests, or keep answers; print how many."""
    from pipelines.caption_batches import CaptionBatches
    from schemas.recipe_file import load_recipe, read_patch
    from schemas.store.lock import build_lock
    from schemas.store.storage import Storage, absolute

    patch = read_patch(options.patch) if options.patch else {}
    recipe = load_recipe(options.recipe, options.overrides, patch)
    store = Storage(absolute(options.out))
    batches = CaptionBatches(store=store, recipe=recipe, name=options.engine)
    if options.emit_batch:
        emitted = batches.emit(options.emit_batch)
        for path in emitted.files:
            print(path)
        if emitted.unreadable:
            first = emitted.first_unreadable
            print(f"{emitted.unreadable:,} images without a request; the first: {first}")
        elif not emitted.files:
            print("no request waits for an answer")
        return 0
    with build_lock(store):
        taken = batches.take(options.take_batch)
    print(f"{taken.answered:,} answers kept, {taken.waiting:,} requests wait")
    if taken.foreign:
        print(f"{taken.foreign:,} answers to other requests, or to answered ones, passed over")
    for reason, failures in sorted(taken.failed.items()):
        print(f"{failures.lines:,} lines failed, {reason}; the first: {failures.first}")
    if taken.broken:
        print(f"{taken.broken:,} lines are no answers; the first: {taken.first_broken}")
    return 0 if taken.answered or not taken.waiting else 1
