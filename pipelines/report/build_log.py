"""What a build leaves to tell of itself: a log with a line a stage, and the report."""

import json

from schemas.store.storage import Storage

LOG = "build_log.jsonl"
BEGUN = "begun"  # stands in the log for a stage, at the start of a build
REPORT = "report.html"


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
    last = runs[-1]["build"] if runs else None
    mine = [run for run in runs if run["build"] == last and run["stage"] != BEGUN]
    return {run["stage"]: run["seconds"] for run in mine}
