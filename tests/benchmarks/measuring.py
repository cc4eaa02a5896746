"""What every benchmark needs: time, memory of a process tree, and a line that says where."""

import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent.parent
RESULTS = Path(__file__).parent / "results"
POLL_S = 0.05


class PeakMemory:
    """Highest resident size of each process below this one, in bytes, by its command."""

    def __init__(self) -> None:
        self.largest = 0  # of one process
        self.total = 0  # of all at one moment
        self.own = 0  # of this process

    def poll(self) -> None:
        sizes = [_resident(child) for child in psutil.Process().children(recursive=True)]
        self.largest = max([self.largest, *sizes])
        self.total = max(self.total, sum(sizes))
        self.own = max(self.own, _resident(psutil.Process()))


@contextmanager
def peak_memory() -> Iterator[PeakMemory]:
    """Watch the processes that the body starts."""
    peak, stop = PeakMemory(), threading.Event()

    def watch() -> None:
        while not stop.wait(POLL_S):
            peak.poll()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()


def cpu_seconds() -> float:
    """Return the CPU time of this process and of those below it that live."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    times = [process.cpu_times() for process in processes]
    return sum(time.user + time.system for time in times)


def run(command: Sequence[str]) -> float:
    """Run a command to its end; return its seconds."""
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return time.monotonic() - started


def report(name: str, figures: dict[str, Any]) -> None:
    """Print the figures as one JSON line, and keep them in a dated file."""
    line = {"benchmark": name, **_where(), **figures}
    print(json.dumps(line))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-{name}.json"
    path.write_text(json.dumps(line, indent=2) + "\n")


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the extremes of repeated runs, rounded to three digits."""
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2]
    figures = {"median": middle, "least": ordered[0], "most": ordered[-1]}
    return {key: float(f"{value:.3g}") for key, value in figures.items()}


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def _where() -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    return {
        "commit": commit.stdout.strip(),
        "command": " ".join(["python", *sys.argv]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "python": platform.python_version(),
    }
