"""A pool of worker processes that survives the death of a worker: lost calls are run again.

Alternatives: pebble 5.2 loses only the call of a dead worker, but breaks for good when an idle
worker is killed (tested). loky's executor breaks as a whole, like that of `concurrent.futures`. A
broken executor must be replaced in any case, so this uses the standard library's.
"""

import errno
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

ORPHAN_S = 1.0  # interval of checks whether the server is alive
# A killed server refuses calls for a moment before the system reports its end.
SERVER_ENDS_S = 1.0
LOOK_S = 0.1  # between two looks at whether a broken executor has ended
DEATHS = 3  # of processes, with no progress between, after which work is given up

# Errors of starting a call when a worker, or the server that forks workers, has died.
LOST = (BrokenProcessPool, EOFError, ConnectionError)

VISIBLE = "CUDA_VISIBLE_DEVICES"  # CUDA reads it when it is first used

_is_pool_worker = False
_progress: Any = None  # of a worker: a number that it shares with its pool, and changes


def _raise_unless_lost(error: BaseException) -> None:
    """Raise an error again, unless it is what a start meets while the server of workers ends."""
    if not isinstance(error, LOST) and getattr(error, "errno", None) != errno.EBADF:
        raise error


class Call:
    """A call in the pool, which is run again if its worker dies."""

    def __init__(self, pool: "LastingPool", function: Callable[..., Any], arguments: tuple) -> None:
        self._pool = pool
        self._function, self._arguments = function, arguments
        self._run: tuple[ProcessPoolExecutor, Future[Any]]

    def start(self, executor: ProcessPoolExecutor) -> None:
        """Start the call, or start it again."""
        future = executor.submit(self._function, *self._arguments)
        self._run = executor, future
        future.add_done_callback(self._ended)

    def result(self) -> Any:
        """Wait for the call; return its result or raise its error.

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
    """An executor that is replaced when a worker dies, because that breaks the whole executor."""

    def __init__(
        self, processes: int, preload: str = "pipelines.worker_imports", *, gpus: int = 0
    ) -> None:
        self.gpus = gpus  # each process sees one of so many; 0: what the machine has
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
        """Start a call as soon as a worker is free."""
        call = Call(self, function, arguments)
        self._waiting[call] = None
        executor = self._started()
        try:
            call.start(executor)
        except (*LOST, OSError) as error:
            _raise_unless_lost(error)
            time.sleep(SERVER_ENDS_S)
            self.replace(executor)
        return call

    def ended(self, call: Call) -> None:
        """Forget a finished call."""
        # No lock: `replace` holds it while it waits for the broken executor, which may call this.
        self._waiting.pop(call, None)
        self._deaths = 0

    def replace(self, broken: ProcessPoolExecutor) -> None:
        """Start a new executor with all lost calls, unless that was done already."""
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
                except (*LOST, OSError) as error:
                    _raise_unless_lost(error)
                    time.sleep(SERVER_ENDS_S)
                    broken = self._executor

    def stop(self) -> None:
        """End the workers at once, even during a call."""
        with self._replacing:
            self._stopped = True
            for worker in multiprocessing.active_children():
                worker.terminate()

    def shutdown(self) -> None:
        """Wait for the workers to end; calls that have not started are cancelled."""
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
            initargs=(self._progress, self._numbered(context)),
        )

    def _numbered(self, context: Any) -> tuple[Any, str] | None:
        """Return what tells each worker its GPU: a count of workers, and the GPUs of this process.

        The server that forks workers may have been started with others.
        """
        return (context.Value("i", 0), os.environ.get(VISIBLE, "")) if self.gpus else None


def _end(broken: ProcessPoolExecutor) -> None:
    """End the workers of a broken executor, and wait for it to end.

    The executor ends its known workers when it breaks, but would wait for ever for a worker that a
    call starts at that moment (Python 3.11).
    """
    waiting = threading.Thread(target=broken.shutdown)
    waiting.start()
    while waiting.is_alive():
        for worker in multiprocessing.active_children():
            worker.kill()
        waiting.join(LOOK_S)


def fork_server(preload: str) -> Any:
    """Return a context that forks processes from a server that has already imported a module."""
    # Not fork: threads of gRPC, aiohttp and torch in this process do not survive it.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipelines.engines.ignore_interrupts", preload])
    return context


def is_pool_worker() -> bool:
    """Return whether this process is a worker of a pool, which replaces ended workers."""
    return _is_pool_worker


def die_with_parent() -> None:
    """End this multiprocessing child soon after its parent ends."""
    # Without this, the workers of a killed build would wait for ever.
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent, server = multiprocessing.parent_process(), os.getppid()
    if parent is None:
        return
    # If the server has ended, the parent already considers this process dead.
    while parent.is_alive() and os.getppid() == server:
        parent.join(ORPHAN_S)
    os._exit(1)


def own_gpu(number: int, visible: str) -> str:
    """Return the value of VISIBLE for the worker of a number, from that of all workers.

    A GPU that is not there stays named, so that its worker finds none, which is an error.

    >>> own_gpu(1, ""), own_gpu(1, "4,GPU-8a"), own_gpu(2, "4,GPU-8a")
    ('1', 'GPU-8a', '-1')
    """
    if not visible:
        return str(number)
    names = [name.strip() for name in visible.split(",")]
    return names[number] if number < len(names) else "-1"


def tell_progress() -> None:
    """Tell the pool that this worker, if it is one, got something done for good."""
    if _progress is not None:
        _progress.value += 1  # some may be lost among workers; that it changes is enough


def _start_worker(progress: Any, numbered: tuple[Any, str] | None = None) -> None:
    """Let this worker die at once, and quietly, when the build is interrupted or killed.

    `numbered` counts the workers of a pool for GPUs, each of which sees the GPU of its number.
    """
    global _is_pool_worker, _progress
    _is_pool_worker, _progress = True, progress
    if numbered is not None:
        started, visible = numbered
        with started.get_lock():
            number, started.value = started.value, started.value + 1
        os.environ[VISIBLE] = own_gpu(number, visible)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    die_with_parent()
