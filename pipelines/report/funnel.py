"""The funnel on the console: what went in, what left by which door, what it took."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.runtime.counting import counted
from pipelines.runtime.retry_dead import STAGES, passing_dead
from pipelines.runtime.sidecar import Counts
from pipelines.sources.names import SPECIAL
from schemas.store.storage import Storage, absolute

LOG = "build_log.jsonl"
BEGUN = "begun"  # stands in the log for a stage, at the start of a build
REPORT = "report.html"
REASONS = 5  # of a stage, in a sentence
SHOWN_KINDS = 12  # of files that a source passes over


def print_funnel(manifest: dict[str, Any], out: str) -> None:
    """Print rows by stage and door, then the shards and where to look at them.

    Of a build that ended before the shards, what there is.
    """
    store = Storage(absolute(out))
    seconds = stage_seconds(store)
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
    if "subsets" not in manifest:
        last = manifest["funnel"][-1]
        rows = counted(last["kept"], "row")
        print(f"{rows} left after {last['stage']}; without --until it goes on")
        return
    print("\n".join(_subset_lines(manifest)))
    for made in manifest["tokens"]:
        print(f"{made['member']}: {made['name']}, {made['checkpoint']}, {made['precision']}")
    if store.exists(REPORT):  # which --until shard leaves out
        print(f"report: {out.rstrip('/')}/{REPORT}")


def print_last_line(manifest: dict[str, Any], out: str) -> None:
    """Print in one line what came of a build."""
    last = manifest["funnel"][-1]
    so_far = f"{counted(last['kept'], 'row')} left after {last['stage']}"
    made = "; ".join(_subset_lines(manifest)) if "subsets" in manifest else so_far
    print(f"{out}: {made}")


def in_words(funnel: Sequence[tuple[str, Counts]]) -> str:
    """Say which stages took the rows, when no sample is left.

    >>> crawled = Counts(rows_in=3, kept=1, dead={"http_404": 2})
    >>> in_words([("crawl", crawled), ("select", Counts(rows_in=1, dropped={"blank": 1}))])
    'no sample is left: 3 rows in; crawl failed 2 (http_404 2); select dropped 1 (blank 1)'
    """
    said = [f"{funnel[0][1].rows_in:,} rows in" if funnel else "no rows in"]
    for stage, counts in funnel:
        for verb, reasons in (("failed", counts.dead), ("dropped", counts.dropped)):
            if rows := sum(reasons.values()):
                said.append(f"{stage} {verb} {rows:,} ({_most(reasons)})")
    return f"no sample is left: {'; '.join(said)}"


def _said(counts: dict[str, int]) -> str:
    """Return counts of kinds of files as words, the most first."""
    kinds = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    said = [f"{number:,} {_plural(what) if number > 1 else what}" for what, number in kinds]
    if len(said) > SHOWN_KINDS:
        rest = sum(number for _, number in kinds[SHOWN_KINDS:])
        others = len(kinds) - SHOWN_KINDS
        kind = "kind" if others == 1 else "kinds"
        said[SHOWN_KINDS:] = [f"{rest:,} of {others} further {kind} (all: manifest.json)"]
    return "; ".join(said)


def _plural(what: str) -> str:
    """Say of several what is said of one.

    >>> _plural(".svg file"), _plural("link to a folder")
    ('.svg files', 'links to a folder')
    """
    if what == SPECIAL:
        return "pipes, sockets or devices"
    return re.sub(r"\b(file|link|folder|image|text|device|tar|row|line)\b", r"\1s", what, count=1)


def unfinished(store: Storage) -> str:
    """Say how far the last build came that the log tells of; '' if it came to its end.

    Raises:
        ValueError, KeyError, TypeError: the log is damaged.
    """
    lines = store.read(LOG).splitlines()
    last = json.loads(lines[-1])
    if last["stage"] == "report":
        return ""
    if last["stage"] == BEGUN:
        return "the last build did not finish"
    return f"the last build stopped after {last['stage']}, or did not finish"


def stage_seconds(store: Storage) -> dict[str, float]:
    """Return the seconds of every stage in the last build, from the log, which has all builds."""
    lines = store.read(LOG).splitlines() if store.exists(LOG) else []
    runs = [json.loads(line) for line in lines]
    # Lines of an earlier release do not say of which build they are.
    last = runs[-1].get("build") if runs else None
    mine = [run for run in runs if run.get("build") == last and run["stage"] != BEGUN]
    return {run["stage"]: run["seconds"] for run in mine}


def _subset_lines(manifest: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: {counted(subset['samples'], 'sample')} in "
        f"{counted(len(subset['shards']), 'shard')}, "
        f"{subset['bytes'] / 1e6:,.1f} MB"
        for name, subset in manifest["subsets"].items()
    ]


def _most(reasons: Mapping[str, int]) -> str:
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    said = [f"{reason} {rows:,}" for reason, rows in ordered if rows]
    return ", ".join(said[:REASONS] + (["..."] if len(said) > REASONS else []))
