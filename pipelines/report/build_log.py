"""The log of a build, with one line a stage, and the name of its report."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import uuid4

from pipelines.runtime.claims import Claims
from pipelines.runtime.console import CONSOLE
from pipelines.runtime.counting import counted
from schemas.store.storage import Storage

LOG = "build_log.jsonl"
BEGUN = "begun"  # the stage of the line that a build writes at its start
REPORT = "report.html"


@dataclass(frozen=True, kw_only=True)
class BuildLog:
    """A writer of the stages of one build, to the console and to the log."""

    store: Storage
    claims: Claims
    shards: int  # number of shards of side-cars
    build: str = field(default_factory=lambda: uuid4().hex[:12])

    def begin(self) -> None:
        """Append a line that marks the build as unfinished."""
        nothing = {"seconds": 0.0, "shards_run": 0, "shards_fresh": 0}
        self._append({"stage": BEGUN, **nothing, "job": "", "job_seconds": 0.0})

    @contextmanager
    def timed(self, stage: str, ran: int, rows: int = 0) -> Iterator[None]:
        """Log the seconds of the body, the job of one stage.

        Args:
            stage: name of the stage.
            ran: number of shards to run.
            rows: rows of these shards, for the speed; 0 to show none.
        """
        started = time.monotonic()
        yield
        seconds = round(time.monotonic() - started, 3)
        self.stage(stage, ran, seconds, speed(rows, seconds), job=stage, job_seconds=seconds)

    def stage(self, stage: str, ran: int, seconds: float, note: str, **job: Any) -> None:
        """Log a stage.

        Args:
            stage: name of the stage.
            ran: number of shards that it made.
            seconds: seconds of work.
            note: text after the seconds on the console.
            job: `job`, the name of the job, and `job_seconds`; `waited`, the share of the seconds
                that devices waited for prepared images.
        """
        fresh = self.shards - ran
        shards = f"{ran} of {counted(self.shards, 'shard')}{f', {fresh} fresh' if fresh else ''}"
        CONSOLE.info("%-10s %s%s", stage, shards, f", {seconds:.1f} s{note}" if ran else "")
        line = {"stage": stage, "seconds": seconds, "shards_run": ran, "shards_fresh": fresh}
        self._append({**line, **job})

    def _append(self, line: dict[str, Any]) -> None:
        self.claims.take({LOG: 1})
        *whole, last = self.store.read(LOG).split(b"\n") if self.store.exists(LOG) else [b""]
        whole += [last] if _parsed(last) else []  # else it is empty, or cut short
        whole.append(json.dumps({"build": self.build, **line}).encode())
        self.store.commit_bytes(LOG, b"\n".join(whole) + b"\n")


def speed(rows: int, seconds: float) -> str:
    """Return images a second, as text after the seconds; '' without rows or seconds.

    >>> speed(1500, 0.5), speed(0, 0.5)
    (', 3,000 img/s', '')
    """
    return f", {rows / seconds:,.0f} img/s" if rows and seconds else ""


def waiting(share: float) -> str:
    """Return the share of the seconds that devices waited, as text after the seconds.

    >>> waiting(0.87)
    ', 87% of it waiting for prepared images'
    """
    return f", {share:.0%} of it waiting for prepared images"


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


def log_warnings(store: Storage) -> Iterator[str]:
    """Yield a line for each of the log that is damaged; all else passes over them."""
    body = store.read(LOG) if store.exists(LOG) else b""
    lines = body.splitlines()
    for number, text in enumerate(lines, 1):
        if not _parsed(text):
            cut = number == len(lines) and not body.endswith(b"\n")
            what = "is cut short" if cut else "is not a line that a build writes"
            yield f"{LOG}: line {number:,} {what}, and passed over: {text[:80]!r}"


def read_log(store: Storage) -> list[dict[str, Any]]:
    """Return the lines of the log in order, without damaged ones; [] without a log."""
    lines = store.read(LOG).splitlines() if store.exists(LOG) else []
    return [line for text in lines if (line := _parsed(text))]


def _parsed(text: bytes) -> dict[str, Any]:
    """Return a line of the log; {} if it is damaged."""
    try:
        line: Any = json.loads(text)
        texts = [line[name] for name in ("build", "stage")]
        numbers = [line[name] for name in ("seconds", "shards_run", "shards_fresh")]
    except (ValueError, TypeError, LookupError, RecursionError):
        return {}
    sound = all(isinstance(each, str) for each in texts)
    return line if sound and all(isinstance(each, int | float) for each in numbers) else {}


def last_stage(store: Storage) -> str:
    """Return the last stage that the last build finished, or BEGUN; '' without a log."""
    lines = read_log(store)
    return lines[-1]["stage"] if lines else ""


class StageTime(NamedTuple):
    """How long a stage took in a build."""

    seconds: float
    waited: float | None = None  # share that devices waited for prepared images, where it has one


def stage_times(store: Storage) -> dict[str, StageTime]:
    """Return the time of every stage of the last build in the log; {} without a log."""
    runs = read_log(store)
    last = runs[-1]["build"] if runs else None
    last_runs = [run for run in runs if run["build"] == last and run["stage"] != BEGUN]
    return {run["stage"]: StageTime(run["seconds"], run.get("waited")) for run in last_runs}
