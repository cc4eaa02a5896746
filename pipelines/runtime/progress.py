"""Progress of a stage, read from the corpus itself, so that it works with every runner."""

import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tqdm import tqdm

from pipelines.runtime.console import is_shown
from schemas.store.storage import Storage

POLL_S = 0.5  # on a terminal, where one line is redrawn
LOG_S = 10.0  # elsewhere: a line each
LISTING_SHARE = 0.1  # most of the time that goes into listing a large folder far away


@contextmanager
def progress(store: Storage, stage: str, folder: str, todo: Mapping[str, int]) -> Iterator[None]:
    """Show shards done of all, images a second and the time left while the body runs.

    Args:
        store: the corpus.
        stage: what to call it.
        folder: of the files that appear or change as shards are done.
        todo: file -> rows that go into it, of the shards that have work.
    """
    if not is_shown():
        yield
        return
    before = store.listing(folder)
    terminal = sys.stderr.isatty()
    stop = threading.Event()
    started = time.monotonic()

    def watch() -> None:
        pause = POLL_S if terminal else LOG_S
        while not stop.wait(pause):
            asked = time.monotonic()
            try:
                now = store.listing(folder)
            except OSError:  # the stage itself will say so
                continue
            done = [name for name in todo if name in now and now[name] != before.get(name)]
            _show(_line(stage, done, todo, time.monotonic() - started), terminal)
            pause = max(pause, (time.monotonic() - asked) / LISTING_SHARE)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
        if terminal:
            _show("", terminal)


def _line(stage: str, done: list[str], todo: Mapping[str, int], seconds: float) -> str:
    meter = tqdm.format_meter(
        len(done), len(todo), seconds, prefix=f"{stage:<10}", unit="shard", ncols=80
    )
    images = sum(todo[name] for name in done)
    return f"{meter}  {images / seconds:,.0f} img/s" if images else meter


def _show(line: str, terminal: bool) -> None:
    if terminal:
        print(f"\r{line}\033[K", end="\r" if not line else "", file=sys.stderr, flush=True)
    else:
        print(line, file=sys.stderr, flush=True)
