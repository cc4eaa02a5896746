"""A pool of worker processes that outlives its workers: what was lost with one is made again.

Considered for it: pebble 5.2, which loses only the call of a worker that dies, but breaks for good
when one without a call is killed (tried); and loky, whose executor breaks as a whole, like that of
`concurrent.futures`. A broken executor has to be replaced anyhow, so it is the standard library's.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from schemas.store.storage import CorpusError

ORPHAN_S = 1.0  # between two looks at whether the server still lives
# A server that was killed refuses calls for a moment before the system tells that it has ended.
SERVER_ENDS_S = 1.0
LOOK_S = 0.1  # between two looks at whether a broken executor has ended
DEATHS = 3  # of processes, with no progress between, after which work is given up

# What starting a call raises where a worker died, or the server that it would be forked from.
LOST = (BrokenProcessPool, EOFError, ConnectionError)

_is_pool_worker = False
_progress: Any = None  # of a worker: a number that it shares with its pool, and changes


class Call:
    """A call in the pool, that is made again if its worker dies."""

    def __init__(self, pool: "LastingPool", function: Callable[..., Any], arguments: tuple) -> None:
        self._pool = pool
        self._function, self._arguments = function, arguments
        self._run: tuple[ProcessPoolExecutor, Future[Any]]

    def start(self, executor: ProcessPoolExecutor) -> None:
        """Begin, or begin anew."""
        future = executor.submit(self._function, *self._arguments)
        self._run = executor, future
        future.add_done_callback(self._ended)

    def result(self) -> Any:
        """Wait for what the call returns, or raise what it raises.

        Raises:
            CorpusError: if worker after worker dies, with no progress between.
        """
        while True:
            executor, future = self._run
            try:
                return future.result()
            except BrokenProcessPool:
                self._pool.replace(executor)

    def _ended(self, future: Future[Any]) -> None:
        if future.cancelled() or not isinstance(future.exception(), BrokenProcessPool):
            self._pool.ended(self)


class LastingPool:
    """An executor that is replaced when one of its workers dies, which ends them all."""

    def __init__(self, processes: int, preload: str = "pipelines.worker_imports") -> None:
        self._processes = processes
        self._preload = preload
        self._executor: ProcessPoolExecutor | None = None  # started by the first call
        self._replacing = threading.Lock()
        self._waiting: dict[Call, None] = {}  # calls that have not ended, in their order
        self._deaths = 0  # since a call ended or made progress
        # Without a lock, which a worker could take with it.
        self._progress = multiprocessing.get_context("forkserver").Value("Q", 0, lock=False)
        self._progress_seen = 0
        self._stopped = False

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Call:
        """Begin a call as soon as a worker is free."""
        call = Call(self, function, arguments)
        self._waiting[call] = None
        executor = self._started()
        try:
            call.start(executor)
        except LOST:
            time.sleep(SERVER_ENDS_S)
            self.replace(executor)
        return call

    def ended(self, call: Call) -> None:
        """Forget a call that will not have to be made again."""
        # No lock: the broken executor that `replace` waits for may be what says so.
        self._waiting.pop(call, None)
        self._deaths = 0

    def replace(self, broken: ProcessPoolExecutor) -> None:
        """Start all anew that was lost with an executor, unless that has been done."""
        with self._replacing:
            if self._stopped:
                raise CorpusError("the build was interrupted")
            while broken is self._executor or self._deaths >= DEATHS:
                _end(broken)
                if self._progress.value != self._progress_seen:
                    self._deaths, self._progress_seen = 0, self._progress.value
                self._deaths += 1
                if self._deaths >= DEATHS:
                    raise CorpusError(
                        f"a worker process was killed, {DEATHS} times in a row, as the system "
                        "does when memory runs out; build again with fewer --processes"
                    )
                print("a worker process died; its shards begin anew", file=sys.stderr, flush=True)
                self._executor = self._start()
                try:
                    for call in list(self._waiting):
                        call.start(self._executor)
                except LOST:
                    time.sleep(SERVER_ENDS_S)
                    broken = self._executor

    def stop(self) -> None:
        """End the workers in the middle of what they do."""
        with self._replacing:
            self._stopped = True
            for worker in multiprocessing.active_children():
                worker.terminate()

    def shutdown(self) -> None:
        """Wait for the workers to end; what has not begun never does."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def _started(self) -> ProcessPoolExecutor:
        with self._replacing:
            if self._executor is None:
                self._executor = self._start()
            return self._executor

    def _start(self) -> ProcessPoolExecutor:
        context = fork_server(self._preload)
        return ProcessPoolExecutor(
            self._processes,
            mp_context=context,
            initializer=_start_worker,
            initargs=(self._progress,),
        )


def _end(broken: ProcessPoolExecutor) -> None:
    """Wait for a broken executor to end, and end its workers.

    It ends those that it knows of when it breaks; one that is started by a call at that moment it
    would wait for, for ever (Python 3.11).
    """
    waiting = threading.Thread(target=broken.shutdown)
    waiting.start()
    while waiting.is_alive():
        for worker in multiprocessing.active_children():
            worker.kill()
        waiting.join(LOOK_S)


def fork_server(preload: str) -> Any:
    """Return what starts processes, forked from a server that has imported a module already."""
    # Not fork: gRPC, aiohttp and torch threads of this process would not survive it.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipelines.engines.ignore_interrupts", preload])
    return context


def is_pool_worker() -> bool:
    """Whether this process is a worker of a pool, which replaces those that end."""
    return _is_pool_worker


def die_with_parent() -> None:
    """End this process, which multiprocessing started, soon after the one that asked for it."""
    # The executor alone would leave the workers of a killed build waiting for ever.
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent, server = multiprocessing.parent_process(), os.getppid()
    if parent is None:
        return
    # Without the server that it was forked from, its parent takes this process for dead already.
    while parent.is_alive() and os.getppid() == server:
        parent.join(ORPHAN_S)
    os._exit(1)


def tell_progress() -> None:
    """Tell the pool that this worker, if it is one, got something done for good."""
    if _progress is not None:
        _progress.value += 1  # some may be lost among workers; that it changes is enough


def _start_worker(progress: Any) -> None:
    """Let this worker die at once, and quietly, when the build is interrupted or killed."""
    global _is_pool_worker, _progress
    _is_pool_worker, _progress = True, progress
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    die_with_parent()
