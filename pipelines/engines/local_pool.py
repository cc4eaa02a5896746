"""The local engine's worker processes: started once a build, fed by Beam's in-process runner.

Beam's own local modes were measured beside it (tests/benchmarks/bench_engines.py): its
multi-processing mode pays seconds of start-up for every job and deals shards out beforehand;
one warm pool for all stages pays once, keeps models loaded, and gives each free worker the next
shard. Remote runners know nothing of this file: there the same functions run in Beam's workers.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pipelines.engines.lasting_pool import Call, LastingPool
from schemas.store.storage import CorpusError

_pool: LastingPool | None = None
_error: Exception | None = None
_stopped = threading.Event()


def default_processes() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def local_pool(processes: int, preload: str = "pipelines.worker_imports") -> Iterator[None]:
    """Run what is submitted below in `processes` worker processes; 1 means in this one.

    `preload` is a module that imports what they need.
    """
    global _pool
    if processes <= 1:
        yield
        return
    _pool = LastingPool(processes, preload)
    try:
        yield
    except KeyboardInterrupt:
        # Workers hear Ctrl-C too, but one that was about to start may not have.
        _pool.stop()
        raise
    finally:
        pool, _pool = _pool, None
        pool.shutdown()


def submit(function: Callable[..., Any], *arguments: Any) -> Call | None:
    """Submit a call to the pool; None where there is none and the caller does it itself."""
    return None if _pool is None else _pool.submit(function, *arguments)


def run_each(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """Call a function for each item, in the pool where there is one; results in their order."""
    started = [(item, submit(function, item)) for item in items]
    for item, call in started:
        yield function(item) if call is None else call.result()


def stop_work() -> None:
    """End what jobs of this process do, from another thread; their calls raise from here on."""
    _stopped.set()
    if (pool := _pool) is not None:
        pool.stop()


def is_stopped() -> bool:
    """Whether jobs of this process were told to end."""
    return _stopped.is_set()


def refuse_if_stopped() -> None:
    """Raise if jobs of this process were told to end.

    Raises:
        CorpusError: they were.
    """
    if is_stopped():
        raise CorpusError("the job was stopped")


@contextmanager
def remembered_error() -> Iterator[None]:
    """Keep the first error of a local job: Beam passes on its text, and a traceback, only."""
    global _error
    try:
        yield
    except Exception as error:
        _error = _error or error
        raise


def forget_outcome() -> None:
    """Forget how the last local job ended, before another begins."""
    take_error()
    _stopped.clear()


def take_error() -> Exception | None:
    """Return the error that ended the last local job, once."""
    global _error
    error, _error = _error, None
    return error
