"""The command `what-if`: its options and its output."""

import argparse
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipelines.cli.build import add_overrides
from pipelines.cli.option_types import place

if TYPE_CHECKING:
    from pipelines.runtime.sidecar import Counts
    from pipelines.thresholds.what_if import Comparison, Outcome


def add_what_if(parser: argparse.ArgumentParser) -> None:
    """Add the options of `what-if`."""
    parser.add_argument(
        "out", type=place, metavar="OUT", help="folder of a built corpus, any fsspec URL"
    )
    add_overrides(parser)
    parser.add_argument(
        "--dedup",
        action=argparse.BooleanOptionalAction,
        help="compare the selected rows with each other, or take the duplicates of the last build "
        "(default: compare up to 250,000 rows)",
    )
    parser.add_argument(
        "--save", type=place, metavar="PATCH", help="write the changes as a patch for build --patch"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Print what a build with the changes would keep, beside what the last one keeps."""
    from pipelines.thresholds.changes import changed_recipes, patch_of
    from pipelines.thresholds.what_if import what_if
    from schemas.recipe_file import read_patch
    from schemas.store.retries import open_fs
    from schemas.store.storage import Storage, absolute

    store = Storage(absolute(options.out))
    patch = read_patch(options.patch) if options.patch else {}
    present, changed = changed_recipes(store, options.overrides, patch)
    found = what_if(store, present, changed, dedup=options.dedup)
    if options.save:
        fs, path = open_fs(absolute(options.save))
        fs.pipe_file(path, patch_of(options.overrides, patch).encode())
    if options.json:
        print(json.dumps(as_json(found)))
        return 0
    print("\n".join(_lines(found)))
    words = [f"--patch {shlex.quote(options.patch)}"] if options.patch else []
    words += [f"--set {shlex.quote(item)}" for item in options.overrides]
    if options.save:
        words = [f"--patch {shlex.quote(options.save)}"]
    if words:
        print(f"\nto build so: vargpt-corpus build RECIPE --out {options.out} {' '.join(words)}")
    return 0


def as_json(found: "Comparison") -> dict[str, Any]:
    """Return a comparison as JSON values."""
    outcomes = {"present": found.present, "changed": found.changed}
    return {
        **{name: _fields(outcome) for name, outcome in outcomes.items()},
        "dedup_is_exact": found.is_exact,
        "rates": [asdict(rate) for rate in found.rates],
    }


def _fields(outcome: "Outcome") -> dict[str, Any]:
    return {
        "select": asdict(outcome.select),
        "dedup": asdict(outcome.dedup) if outcome.dedup else None,
        "to_score": outcome.to_score,
        "asked": outcome.asked,
        "new": outcome.new,
        "without_codes": outcome.without_codes,
        "sources": dict(outcome.sources),
        "means": dict(outcome.means),
        "codes": outcome.codes,
    }


def _lines(found: "Comparison") -> Iterator[str]:
    before, after = found.present, found.changed
    yield f"{'':<34}{'present':>14}{'changed':>14}{'':>14}"
    yield from _stage("select", before.select, after.select)
    if before.to_score or after.to_score:
        yield _line("  to be scored first, not counted", before.to_score, after.to_score)
    if after.dedup is None or before.dedup is None:
        yield "dedup: not known; the last build did not run it, and --dedup was not given"
    else:
        yield from _stage("dedup", before.dedup, after.dedup)
        if not found.is_exact:
            yield _line("  of the kept, not compared", before.new, after.new)
    yield "kept by source"
    total = [sum(each.sources.values()) for each in (before, after)]
    for name in after.sources:
        counts = before.sources[name], after.sources[name]
        mix = " -> ".join(f"{_share(n, of)}" for n, of in zip(counts, total, strict=True))
        yield f"{_line(f'  {name}', *counts)}   {mix}"
    yield f"means of the kept{'' if found.is_exact else ' by select'}"
    for name in dict.fromkeys([*before.means, *after.means]):
        yield _means(f"  {name}", before.means.get(name), after.means.get(name))
    yield _line("codes", before.codes, after.codes)
    yield from _hours(found)
    yield from _notes(found)


def _stage(name: str, before: "Counts", after: "Counts") -> Iterator[str]:
    yield _line(f"{name}: rows in", before.rows_in, after.rows_in)
    yield _line("  kept", before.kept, after.kept)
    reasons = dict.fromkeys([*before.dropped, *after.dropped])
    for reason in sorted(reasons, key=lambda each: -after.dropped.get(each, 0)):
        yield _line(f"  {reason}", before.dropped.get(reason, 0), after.dropped.get(reason, 0))


def _line(name: str, before: int, after: int) -> str:
    change = f"{after - before:+,}" if after != before else "="
    return f"{name:<34}{before:>14,}{after:>14,}{change:>14}"


def _means(name: str, before: float | None, after: float | None) -> str:
    shown = ["-" if value is None else f"{value:,.4g}" for value in (before, after)]
    return f"{name:<34}{shown[0]:>14}{shown[1]:>14}"


def _share(rows: int, of: int) -> str:
    return f"{100 * rows / of:.1f} %" if of else "-"


def _hours(found: "Comparison") -> Iterator[str]:
    before, after = found.present, found.changed
    for rate in found.rates:
        rows = (before.asked, after.asked)
        further = after.to_score
        if rate.stage != "score":
            rows = tuple(sum(each.sources.values()) for each in (before, after))
            further = after.without_codes
        unit = "GPU hours" if rate.on_gpu else "hours of work"
        shown = [rate.hours(each) for each in rows]
        new = "" if further is None else f"   {rate.hours(further):,.2f} of them new"
        yield f"{f'{rate.stage}, {unit}, about':<34}{shown[0]:>14,.2f}{shown[1]:>14,.2f}{new}"


def _notes(found: "Comparison") -> Sequence[str]:
    after, notes = found.changed, list[str]()
    if after.to_score:
        notes.append(
            f"{after.to_score:,} rows pass the rules on measured values and have no scores yet; a "
            "build scores them first, and at most so many more are selected"
        )
    if after.dedup is not None and not found.is_exact:
        notes.append(
            f"duplicates are those of the last build, as far as known: {after.new:,} kept rows are "
            "new to it, and changes of dedup and of quotas are not counted; --dedup compares the "
            "rows again"
        )
    return ["", *notes] if notes else []
