"""The funnel on the console: what went in, what left by which door, what it took."""

import json
import re
from typing import Any

from pipelines.build import LOG
from pipelines.manifest import MANIFEST
from pipelines.retry_dead import STAGES, passing_dead
from pipelines.storage import Storage

SHOWN_KINDS = 12  # of files that a source passes over


def print_funnel(manifest: dict[str, Any], out: str) -> None:
    """Print rows by stage and door, then the shards and where to look at them."""
    seconds = stage_seconds(Storage(out))
    print(f"\n{'stage':<12}{'rows in':>12}{'kept':>12}{'dropped':>10}{'dead':>8}{'seconds':>10}")
    for line in manifest["funnel"]:
        dropped, dead = line["dropped"], line["dead"]
        print(
            f"{line['stage']:<12}{line['rows_in']:>12,}{line['kept']:>12,}"
            f"{sum(dropped.values()):>10,}{sum(dead.values()):>8,}"
            f"{seconds.get(line['stage'], 0.0):>10.1f}"
        )
        for door, reasons in (("dropped", dropped), ("dead", dead)):
            for reason, rows in sorted(reasons.items(), key=lambda item: (-item[1], item[0])):
                print(f"    {door:<8}{reason:<32}{rows:>8,}")
    for line in manifest["funnel"]:
        if line["stage"] in STAGES and (rows := passing_dead(line["dead"])):
            print(f"{rows:,} dead of what may pass: --retry-dead {line['stage']} tries them again")
    for source, counts in manifest["passed_over"].items():
        print(f"passed over in {source}: {_said(counts)}")
    print()
    for name, subset in manifest["subsets"].items():
        count, size = len(subset["shards"]), subset["bytes"] / 1e6
        print(f"{name}: {subset['samples']:,} samples in {count:,} shards, {size:,.1f} MB")
    for made in manifest["tokens"]:
        print(f"{made['member']}: {made['name']}, {made['checkpoint']}, {made['precision']}")
    print(f"report: {out.rstrip('/')}/report.html")


def _said(counts: dict[str, int]) -> str:
    """Return counts of kinds of files as words, the most first."""
    kinds = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    said = [f"{number:,} {_plural(what) if number > 1 else what}" for what, number in kinds]
    if len(said) > SHOWN_KINDS:
        rest = sum(number for _, number in kinds[SHOWN_KINDS:])
        said[SHOWN_KINDS:] = [f"{rest:,} of {len(kinds) - SHOWN_KINDS} other kinds ({MANIFEST})"]
    return "; ".join(said)


def _plural(what: str) -> str:
    """Say of several what is said of one.

    >>> _plural(".svg file"), _plural("link to a folder")
    ('.svg files', 'links to a folder')
    """
    return re.sub(r"\b(file|link|folder|image|text|device|tar|row|line)\b", r"\1s", what, count=1)


def stage_seconds(store: Storage) -> dict[str, float]:
    """Sum the seconds of every stage over all runs of the build, from its log."""
    total: dict[str, float] = {}
    if store.exists(LOG):
        for line in store.read(LOG).splitlines():
            run = json.loads(line)
            total[run["stage"]] = total.get(run["stage"], 0.0) + run["seconds"]
    return total
