"""Failure of a job whose local worker process was killed; Beam would wait for it for ever.

Beam 2.77 starts worker processes on the driver's machine for an embedded Spark or Flink, for Prism,
and for the multi-processing mode of its in-process runner. It has no option that ends a job when a
worker dies, and no library watches processes that others started. So the job runs in a thread, and
the kernel notifies the main thread when a child of this process ends (Linux; elsewhere it may
wait). A worker on a cluster is no child of the driver: there the engine itself repeats the lost
work.
"""

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import psutil

from pipelines.engines.local_pool import is_stopped

T = TypeVar("T")

LOOK_S = 0.25  # interval of checks for new children, and for the end of the job
GRACE_S = 20.0  # time for a job to end by itself
# In the command of workers that Beam waits for in a thread, which may reap them first.
REAPED_BY_BEAM = "sdk_worker_main"
# Signals that Beam stops a worker with, and that Ctrl-C sends: not a kill.
ORDERLY = (signal.SIGTERM, signal.SIGINT)


class WorkerKilledError(Exception):
    """A worker process was killed before its job had ended."""


class JobStoppedError(Exception):
    """Another thread of this process stopped the job."""


def run_watched(job: Callable[[], T], *, look_s: float = LOOK_S, grace_s: float = GRACE_S) -> T:
    """Run a call in a thread; return its result or raise its error.

    Args:
        job: the call.
        look_s: seconds between two looks at the children of this process.
        grace_s: seconds in which a job may end by itself after a child was killed.

    Raises:
        WorkerKilledError: a child of this process was killed and the call does not end.
        JobStoppedError: jobs of this process were stopped.
    """
    result: Future[T] = Future()
    # A daemon thread, because it may wait for a dead worker for ever.
    threading.Thread(target=_run, args=(job, result), name="beam job", daemon=True).start()
    children = _Children()
    until, killed = float("inf"), 0
    try:
        while not result.done():
            for pid in children.killed(look_s):
                until, killed = min(until, time.monotonic() + grace_s), pid
            if is_stopped():
                raise JobStoppedError("the job was stopped")
            if time.monotonic() > until:
                raise WorkerKilledError(f"worker process {killed} was killed")
    finally:
        children.close()
    return result.result()


def _run(job: Callable[[], T], result: "Future[T]") -> None:
    try:
        result.set_result(job())
    except BaseException as error:  # passed to the waiting thread
        result.set_exception(error)


class _Children:
    """The child processes of this process."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._known: dict[int, psutil.Process] = {}  # by the descriptor that reports its end
        self._commands: dict[int, str] = {}  # by pid

    def killed(self, wait_s: float) -> list[int]:
        """Wait a moment; return the pids of children that were killed in that time."""
        self._look()
        ended = [descriptor for descriptor, _ in self._poll.poll(wait_s * 1000)]
        return [pid for pid in map(self._forget, ended) if _was_killed(pid, self._commands[pid])]

    def close(self) -> None:
        for descriptor in list(self._known):
            self._forget(descriptor)

    def _look(self) -> None:
        for child in psutil.Process().children():
            try:
                if child.status() == psutil.STATUS_ZOMBIE:
                    continue
                # Update it each time, because a forked process may have called exec since.
                self._commands[child.pid] = " ".join(child.cmdline())
                if child not in self._known.values() and hasattr(os, "pidfd_open"):
                    descriptor = os.pidfd_open(child.pid)
                    self._known[descriptor] = child
                    self._poll.register(descriptor, select.POLLIN)
            except (psutil.NoSuchProcess, ProcessLookupError):
                continue

    def _forget(self, descriptor: int) -> int:
        self._poll.unregister(descriptor)
        os.close(descriptor)
        return self._known.pop(descriptor).pid


def _was_killed(pid: int, command: str) -> bool:
    """Return whether an ended child was killed, as far as is known without reaping it."""
    try:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return REAPED_BY_BEAM in command
    return ended is not None and ended.si_code != os.CLD_EXITED and ended.si_status not in ORDERLY
