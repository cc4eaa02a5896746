"""Progress of a job, read from the corpus itself, so that it works with every runner."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from pipelines.runtime.console import is_shown
from pipelines.runtime.sidecar import Counts, read_origin
from schemas.store.storage import CorpusError, Storage

POLL_S = 0.5  # on a terminal, where one line is redrawn
LOG_S = 10.0  # elsewhere: a line each
LISTING_SHARE = 0.1  # most of the time that goes into listing a large folder far away


@dataclass(frozen=True, kw_only=True)
class Work:
    """Files that a stage is to write, each with a footer that says what is in it."""

    stage: str
    folder: str
    files: Sequence[str]


@dataclass(kw_only=True)
class Progress:
    """How far the stages of a job are."""

    store: Storage
    work: Sequence[Work]
    on_file: Callable[[str, str, Counts], None]  # told of every new file: its stage, its name
    done: dict[str, dict[str, Counts]] = field(init=False)  # by stage and file
    _before: Mapping[str, Mapping[str, Any]] = field(init=False)  # by folder
    _started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.done = {each.stage: {} for each in self.work}
        self._before = {each.folder: self.store.listing(each.folder) for each in self.work}

    def look(self) -> None:
        """Look for files that have appeared or changed."""
        for each in self.work:
            done, before = self.done[each.stage], self._before[each.folder]
            now = self.store.listing(each.folder)
            for name in each.files:
                if name in now and name not in done and now[name] != before.get(name):
                    origin = read_origin(self.store, f"{each.folder}/{name}")
                    if origin is not None:
                        done[name] = origin.counts
                        self.on_file(each.stage, name, origin.counts)

    def line(self) -> str:
        """Return the stages under way, a bar, the time left, and images a second."""
        seconds = time.monotonic() - self._started
        finished = [len(self.done[each.stage]) for each in self.work]
        totals = [len(each.files) for each in self.work]
        counted = [
            f"{each.stage} {count}/{total}"
            for each, count, total in zip(self.work, finished, totals, strict=True)
            if count < total or len(self.work) == 1
        ]
        meter = tqdm.format_meter(
            sum(finished),
            sum(totals),
            seconds,
            ncols=80,
            bar_format=f"{', '.join(counted):<10} {{percentage:3.0f}}%|{{bar:20}}| "
            "{elapsed}<{remaining}",
        )
        last = self.done[self.work[-1].stage].values()
        images = sum(counts.rows_in for counts in last)
        return f"{meter}  {images / seconds:,.0f} img/s" if images else meter


def _ignore(stage: str, file: str, counts: Counts) -> None:
    pass


@contextmanager
def progress(
    store: Storage,
    work: Sequence[Work],
    on_file: Callable[[str, str, Counts], None] = _ignore,
    *,
    pause_s: float | None = None,
) -> Iterator[None]:
    """Show the files done, images per second and the time left while the body runs.

    Args:
        store: the corpus.
        work: what its stages are to write, in their order.
        on_file: called, in another thread, for each file that appears or changes.
        pause_s: seconds between two looks; None for what suits a terminal or a log.
    """
    terminal = sys.stderr.isatty()
    pause = pause_s or (POLL_S if terminal else LOG_S)
    stop = threading.Event()
    seen = Progress(store=store, work=work, on_file=on_file)

    def watch(pause: float = pause) -> None:
        while not stop.wait(pause):
            asked = time.monotonic()
            try:
                seen.look()
            except (OSError, CorpusError):  # the stage itself will say so
                continue
            if is_shown():
                _show(seen.line(), terminal)
            pause = max(pause, (time.monotonic() - asked) / LISTING_SHARE)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
        if terminal and is_shown():
            _show("", terminal)


def _show(line: str, terminal: bool) -> None:
    if terminal:
        print(f"\r{line}\033[K", end="\r" if not line else "", file=sys.stderr, flush=True)
    else:
        print(line, file=sys.stderr, flush=True)
