"""The command `calibrate`: its options and its output."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipelines.cli.option_types import place, positive

if TYPE_CHECKING:
    from pipelines.thresholds.agreement import Agreement, Share
    from pipelines.thresholds.calibrate import Result


def add_calibrate(parser: argparse.ArgumentParser) -> None:
    """Add the options of `calibrate`."""
    parser.add_argument(
        "out", type=place, metavar="OUT", help="folder of a built corpus, any fsspec URL"
    )
    parser.add_argument(
        "rule", metavar="RULE", help="a bound of a rule, e.g. select.aesthetic.min or aesthetic"
    )
    parser.add_argument(
        "--labels", type=place, metavar="FILE", help="read labels that the page saved, JSON or CSV"
    )
    parser.add_argument(
        "--samples", type=positive, default=200, metavar="N", help="rows to draw (default: 200)"
    )
    parser.add_argument(
        "--question",
        default="Would you keep this image?",
        metavar="TEXT",
        help="that the page asks (default: Would you keep this image?)",
    )
    parser.add_argument(
        "--anew",
        action="store_true",
        help="draw another sample; the labels of the old one are lost",
    )


def run(options: argparse.Namespace) -> int:
    """Draw a sample and write its page, or print what its labels say."""
    from pipelines.calibration import moved_thresholds
    from pipelines.out_folder import RECIPE
    from pipelines.runtime.console import CONSOLE
    from pipelines.thresholds.calibrate import (
        open_sample,
        result_of,
        rule_named,
        write_page,
        write_result,
        write_sample,
    )
    from pipelines.thresholds.labels import with_labels
    from schemas.recipe_file import load_recipe
    from schemas.store.retries import open_fs
    from schemas.store.storage import CorpusError, Storage, absolute

    store = Storage(absolute(options.out))
    if not store.exists(RECIPE):
        raise CorpusError(f"{store.root}: no {RECIPE}; expected the folder of a corpus")
    fs, path = store.locate(RECIPE)
    recipe = load_recipe(fs.unstrip_protocol(path))
    rule = rule_named(options.rule, recipe)
    sample = open_sample(store, recipe, rule, size=options.samples, anew=options.anew)
    if options.labels:
        fs, path = open_fs(absolute(options.labels))
        sample = with_labels(sample, rule, fs.cat_file(path), options.labels)
        write_sample(store, rule, sample)
    if moved := moved_thresholds(recipe, rule, sample):
        CONSOLE.warning(moved)
    page = write_page(store, rule, sample, recipe, options.question)
    result = result_of(rule, sample)
    out = options.out.rstrip("/")
    print(f"{result.rows:,} rows around select.{rule}, {result.labelled:,} labelled yes or no")
    if result.labelled:
        print("\n".join(_lines(result, "old threshold" if moved else "threshold")))
        print(f"\nalso in {out}/{write_result(store, result)}")
    else:
        print(f"1. open {out}/{page} in a browser, on a phone too, answer, and save JSON")
        print(f"2. vargpt-corpus calibrate {options.out} {rule} --labels {rule}.labels.json")
    return 0


def _lines(result: "Result", threshold: str) -> Iterator[str]:
    yield f"{'':<26}{'kept':>8}   {'precision':<26}{'recall':<26}"
    yield _line(f"at the {threshold}", result.at_threshold)
    for source, found in result.by_source.items():
        yield _line(f"  {source}", found)
    yield "other thresholds, for all sources"
    for other, found in result.by_threshold:
        yield _line(f"  {other:.4g}", found)
    yield "intervals: 95 %, Wilson's, of weighted rows"


def _line(name: str, found: "Agreement") -> str:
    kept = "-" if found.kept != found.kept else f"{100 * found.kept:.1f} %"
    return f"{name:<26}{kept:>8}   {_share(found.precision):<26}{_share(found.recall):<26}".rstrip()


def _share(share: "Share") -> str:
    if share.value != share.value:
        return "-"
    percent = [f"{100 * each:.1f}" for each in (share.value, share.low, share.high)]
    return f"{percent[0]} % ({percent[1]} to {percent[2]})"
