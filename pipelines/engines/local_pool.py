"""The local engine's worker processes: started once per build, used by Beam's in-process runner.

Compared with Beam's local modes (tests/benchmarks/bench_engines.py): its multi-processing mode
takes seconds of start-up for every job and assigns shards in advance. One pool for all stages
starts once, keeps models loaded, and gives each free worker the next shard. Remote runners do not
use this file: there the same functions run in Beam's workers.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pipelines.engines.lasting_pool import Call, LastingPool
from schemas.store.storage import CorpusError

_pool: LastingPool | None = None
_gpu_pool: LastingPool | None = None  # one process a GPU
_starting = threading.Lock()
_error: Exception | None = None
_job = 0  # the number of the latest job of this process
_stopped = -1  # the latest job that was told to end, and so were those before it


def default_processes() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def local_pool(processes: int, preload: str = "pipelines.worker_imports") -> Iterator[None]:
    """Run submitted calls in `processes` worker processes; 1 means in this process.

    `preload` is a module with the imports of the workers.
    """
    global _pool
    if processes <= 1:
        yield
        return
    _pool = LastingPool(processes, preload)
    try:
        yield
    except KeyboardInterrupt:
        # Workers get Ctrl-C too, but a worker that was just starting may have missed it.
        _pool.stop()
        if _gpu_pool is not None:
            _gpu_pool.stop()
        raise
    finally:
        pool, _pool = _pool, None
        pool.shutdown()
        _end_gpu_pool()


def submit(function: Callable[..., Any], *arguments: Any, gpus: int = 0) -> Call | None:
    """Submit a call to a pool; None if there is none and the caller must run it.

    Args:
        function: to be called.
        arguments: of it.
        gpus: how many GPUs of this machine such calls use, 0 for none. They run in one process a
            GPU, which sees no other: in a pool worker, a model a core would fill the GPU's memory.
            A Beam worker with one GPU makes the call itself.
    """
    if gpus > 1 or (gpus and _pool is not None):
        return _pool_of_gpus(gpus).submit(function, *arguments)
    return None if _pool is None else _pool.submit(function, *arguments)


def _pool_of_gpus(gpus: int) -> LastingPool:
    """Return the pool for GPUs, which lasts from job to job and keeps its models."""
    global _gpu_pool
    with _starting:
        if _gpu_pool is None or _gpu_pool.gpus != gpus:
            _end_gpu_pool()
            _gpu_pool = LastingPool(gpus, gpus=gpus)
        return _gpu_pool


def _end_gpu_pool() -> None:
    global _gpu_pool
    pool, _gpu_pool = _gpu_pool, None
    if pool is not None:
        pool.shutdown()


def run_each(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """Call a function for each item, in the pool if there is one; yield the results in order."""
    started = [(item, submit(function, item)) for item in items]
    for item, call in started:
        yield function(item) if call is None else call.result()


def begin_job() -> None:
    """Give the next job its number, and forget how the one before ended."""
    global _job
    take_error()
    _job += 1


def current_job() -> int:
    """Return the number of the latest job of this process."""
    return _job


def stop_work() -> None:
    """End the jobs of this process, from another thread; their calls raise from here on."""
    global _stopped
    _stopped = _job
    for pool in (_pool, _gpu_pool):
        if pool is not None:
            pool.stop()


def is_stopped(job: int | None = None) -> bool:
    """Return whether a job, by default the latest of this process, was told to end."""
    return (_job if job is None else job) <= _stopped


def refuse_if_stopped(job: int) -> None:
    """Raise if a job was told to end.

    Raises:
        CorpusError: it was.
    """
    if is_stopped(job):
        raise CorpusError("the job was stopped")


@contextmanager
def remembered_error() -> Iterator[None]:
    """Keep the first error of a local job, because Beam passes on only text and traceback."""
    global _error
    try:
        yield
    except Exception as error:
        _error = _error or error
        raise


def take_error() -> Exception | None:
    """Return the error that ended the last local job, once."""
    global _error
    error, _error = _error, None
    return error
