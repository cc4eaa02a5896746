"""The log of a build, with one line a stage, and the name of its report."""

import json

from schemas.store.storage import Storage

LOG = "build_log.jsonl"
BEGUN = "begun"  # the stage of the line that a build writes at its start
REPORT = "report.html"


def unfinished(store: Storage) -> str:
    """Describe how far the last build in the log came; '' if it finished.

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
    """Return the seconds of every stage of the last build in the log; {} without a log."""
    lines = store.read(LOG).splitlines() if store.exists(LOG) else []
    runs = [json.loads(line) for line in lines]
    last = runs[-1]["build"] if runs else None
    last_runs = [run for run in runs if run["build"] == last and run["stage"] != BEGUN]
    return {run["stage"]: run["seconds"] for run in last_runs}
