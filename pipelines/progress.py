"""Progress of a stage, read from the corpus itself, so that it works with every runner."""

import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tqdm import tqdm

from pipelines.sidecar import sidecar_path
from pipelines.storage import Storage

POLL_S = 0.5  # on a terminal
LOG_S = 10.0  # elsewhere: a line each
LISTING_SHARE = 0.1  # most of the time that goes into listing a large folder far away


@contextmanager
def progress(store: Storage, stage: str, folder: str, todo: Mapping[int, int]) -> Iterator[None]:
    """Show shards done of all, images a second and the time left while the body runs.

    Args:
        store: the corpus.
        stage: what to call it.
        folder: of the side-cars that appear or change as shards are done.
        todo: shard -> its rows, of the shards that have work.
    """
    before = store.listing(folder)
    stop = threading.Event()
    started = time.monotonic()

    def watch() -> None:
        terminal = sys.stderr.isatty()
        pause = POLL_S if terminal else LOG_S
        while not stop.wait(pause):
            asked = time.monotonic()
            _show(_line(stage, _done(store, folder, before, todo), todo, started), terminal)
            pause = max(pause, (time.monotonic() - asked) / LISTING_SHARE)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
    _show(_line(stage, list(todo), todo, started), sys.stderr.isatty(), end="\n")


def _done(
    store: Storage, folder: str, before: Mapping[str, object], todo: Mapping[int, int]
) -> list[int]:
    now = store.listing(folder)
    names = {shard: sidecar_path("", shard).lstrip("/") for shard in todo}
    return [shard for shard, name in names.items() if name in now and now[name] != before.get(name)]


def _line(stage: str, done: list[int], todo: Mapping[int, int], started: float) -> str:
    elapsed = time.monotonic() - started
    meter = tqdm.format_meter(
        len(done), len(todo), elapsed, prefix=f"{stage:<10}", unit="shard", ncols=80
    )
    images = sum(todo[shard] for shard in done)
    return f"{meter}  {images / elapsed:,.0f} img/s" if images else meter


def _show(line: str, terminal: bool, end: str = "") -> None:
    if terminal:
        print(f"\r{line}", end=end or "\033[K", file=sys.stderr, flush=True)
    else:
        print(line, file=sys.stderr, flush=True)
