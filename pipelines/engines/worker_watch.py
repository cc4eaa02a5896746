"""Fail a job whose worker process was killed: Beam would wait for that worker for ever.

Beam 2.77 starts worker processes beside the driver for an embedded Spark or Flink, for Prism, and
for the multi-processing mode of its in-process runner. It has no option that ends a job when one of
them dies, and no library watches processes that others started. So the job runs in a thread, and
the main thread is told by the kernel when a child of this process ends (Linux; elsewhere it may
wait). A worker on a cluster is no child of the driver: there the engine itself makes the lost work
again.
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

LOOK_S = 0.25  # between two looks for new children, and for the end of the job
GRACE_S = 20.0  # in which a job may end by itself
# In the command of workers that Beam waits for in a thread, which may be told of their end first.
REAPED_BY_BEAM = "sdk_worker_main"
# What Beam stops a worker with, and what those at a terminal hear of Ctrl-C.
ASKED = (signal.SIGTERM, signal.SIGINT)


class WorkerKilledError(Exception):
    """A worker process was killed before its job had ended."""


class JobStoppedError(Exception):
    """Another thread of this process stopped the job."""


def run_watched(job: Callable[[], T]) -> T:
    """Return what a call returns, or raise what it raises.

    Raises:
        WorkerKilledError: if a child of this process was killed and the call does not end.
        JobStoppedError: if jobs of this process were stopped.
    """
    result: Future[T] = Future()
    # A daemon: no process waits for a thread that waits for a dead worker.
    threading.Thread(target=_run, args=(job, result), name="beam job", daemon=True).start()
    children = _Children()
    until, killed = float("inf"), 0
    try:
        while not result.done():
            for pid in children.killed():
                until, killed = min(until, time.monotonic() + GRACE_S), pid
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
    except BaseException as error:  # for the thread that waits
        result.set_exception(error)


class _Children:
    """The children of this process, however they were started."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._known: dict[int, psutil.Process] = {}  # by the descriptor that tells of its end
        self._commands: dict[int, str] = {}  # by pid

    def killed(self) -> list[int]:
        """Wait a moment; return those that ended in it and were killed, by their pids."""
        self._look()
        ended = [descriptor for descriptor, _ in self._poll.poll(LOOK_S * 1000)]
        return [pid for pid in map(self._forget, ended) if _was_killed(pid, self._commands[pid])]

    def close(self) -> None:
        for descriptor in list(self._known):
            self._forget(descriptor)

    def _look(self) -> None:
        for child in psutil.Process().children():
            try:
                if child.status() == psutil.STATUS_ZOMBIE:
                    continue
                # Again each time, for a process that was only forked before.
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
    """Whether a child that has ended was killed, as far as can be told without reaping it."""
    try:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return REAPED_BY_BEAM in command
    return ended is not None and ended.si_code != os.CLD_EXITED and ended.si_status not in ASKED
