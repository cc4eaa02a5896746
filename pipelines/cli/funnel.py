"""The output of `build` at its end: the funnel, the shards, and the report."""

import re
from collections.abc import Mapping
from typing import Any

from pipelines.report.build_log import REPORT, StageTime, stage_times
from pipelines.runtime.counting import counted
from pipelines.runtime.retry_failed import temporarily_failed
from pipelines.sources.names import SPECIAL
from pipelines.stage_table import retried_stages
from schemas.store.storage import Storage, absolute

SHOWN_KINDS = 12  # of files that a source passes over


def print_funnel(manifest: dict[str, Any], out: str) -> None:
    """Print rows by stage and outcome, then the shards and the path of the report.

    For a build that ended before the shards, print the stages that ran.
    """
    store = Storage(absolute(out))
    times = stage_times(store)
    print(f"\n{'stage':<12}{'rows in':>12}{'kept':>12}{'dropped':>10}{'failed':>8}{'seconds':>10}")
    for line in manifest["funnel"]:
        dropped, failed = line["dropped"], line["failed"]
        print(
            f"{line['stage']:<12}{line['rows_in']:>12,}{line['kept']:>12,}"
            f"{sum(dropped.values()):>10,}{sum(failed.values()):>8,}"
            f"{times.get(line['stage'], StageTime(0.0)).seconds:>10.1f}"
        )
        for outcome, reasons in (("dropped", dropped), ("failed", failed)):
            for reason, rows in sorted(reasons.items(), key=lambda item: (-item[1], item[0])):
                print(f"    {outcome:<8}{reason:<32}{rows:>8,}")
    for line in manifest["funnel"]:
        if line["stage"] in retried_stages() and (rows := temporarily_failed(line["failed"])):
            print(f"{rows:,} failed temporarily: --retry-failed {line['stage']} tries them again")
    for source, counts in manifest["passed_over"].items():
        print(f"passed over in {source}: {_kinds_text(counts)}")
    print()
    if "subsets" not in manifest:
        last = manifest["funnel"][-1]
        rows = counted(last["kept"], "row")
        print(f"{rows} left after {last['stage']}; without --until it goes on")
        return
    print("\n".join(_subset_lines(manifest)))
    for made in manifest["tokens"]:
        print(f"{made['member']}: {made['name']}, {made['checkpoint']}, {made['precision']}")
    if store.exists(REPORT):  # --until shard writes none
        print(f"report: {out.rstrip('/')}/{REPORT}")


def print_last_line(manifest: dict[str, Any], out: str) -> None:
    """Print the result of a build in one line."""
    last = manifest["funnel"][-1]
    so_far = f"{counted(last['kept'], 'row')} left after {last['stage']}"
    made = "; ".join(_subset_lines(manifest)) if "subsets" in manifest else so_far
    print(f"{out}: {made}")


def _kinds_text(counts: dict[str, int]) -> str:
    """Return counts of kinds of files as words, the largest first."""
    kinds = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    words = [f"{number:,} {_plural(what) if number > 1 else what}" for what, number in kinds]
    if len(words) > SHOWN_KINDS:
        rest = sum(number for _, number in kinds[SHOWN_KINDS:])
        others = len(kinds) - SHOWN_KINDS
        kind = "kind" if others == 1 else "kinds"
        words[SHOWN_KINDS:] = [f"{rest:,} of {others} further {kind} (all: manifest.json)"]
    return "; ".join(words)


def _plural(what: str) -> str:
    """Return the plural of a kind of files.

    >>> _plural(".svg file"), _plural("link to a folder")
    ('.svg files', 'links to a folder')
    """
    if what == SPECIAL:
        return "pipes, sockets or devices"
    return re.sub(r"\b(file|link|folder|image|text|device|tar|row|line)\b", r"\1s", what, count=1)


def _subset_lines(manifest: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: {counted(subset['samples'], 'sample')} in "
        f"{counted(len(subset['shards']), 'shard')}, "
        f"{subset['bytes'] / 1e6:,.1f} MB"
        for name, subset in manifest["subsets"].items()
    ]
