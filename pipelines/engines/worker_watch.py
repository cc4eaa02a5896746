"""Fail a job whose worker process was killed: Beam would wait for that worker for ever.

Beam 2.77 starts worker processes beside the driver for an embedded Spark or Flink, for Prism, and
for the multi-processing mode of its in-process runner. It has no option that ends a job when one of
them dies, and no library watches processes that others started. So the job runs in a thread, and
the main thread looks at the children of this process with psutil. A worker on a cluster is no child
of the driver: there the engine itself makes the lost work again.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

import psutil

T = TypeVar("T")

LOOK_S = 0.5
GRACE_S = 20.0  # in which a job may still end, or Beam reap a worker that it stopped itself
# In the command of workers that Beam waits for in a thread of its own, so that they are never
# zombies; it stops them at the end of their job only.
REAPED_BY_BEAM = "sdk_worker_main"


class WorkerKilledError(Exception):
    """A worker process was killed before its job had ended."""


def run_watched(job: Callable[[], T]) -> T:
    """Return what a call returns, or raise what it raises.

    Raises:
        WorkerKilledError: if a child of this process was killed and the call does not end.
    """
    result: Future[T] = Future()
    # A daemon: no process waits for a thread that waits for a dead worker.
    threading.Thread(target=_run, args=(job, result), name="beam job", daemon=True).start()
    commands: dict[psutil.Process, str] = {}
    dead_since: dict[psutil.Process, float] = {}
    while not wait([result], LOOK_S).done:
        commands |= _running_children()
        dead = [child for child, command in commands.items() if _was_killed(child, command)]
        dead_since = {child: dead_since.get(child, time.monotonic()) for child in dead}
        for child, since in dead_since.items():
            if time.monotonic() - since > GRACE_S:
                raise WorkerKilledError(f"worker process {child.pid} was killed")
    return result.result()


def _run(job: Callable[[], T], result: "Future[T]") -> None:
    try:
        result.set_result(job())
    except BaseException as error:  # for the thread that waits
        result.set_exception(error)


def _running_children() -> dict[psutil.Process, str]:
    """Return the children of this process that run, each with its command line."""
    found: dict[psutil.Process, str] = {}
    for child in psutil.Process().children():
        try:
            found[child] = " ".join(child.cmdline())
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def _was_killed(child: psutil.Process, command: str) -> bool:
    """Whether a child that ran was killed, as far as can be told without reaping it."""
    if not hasattr(os, "waitid"):  # macOS, before Python 3.13
        return False
    try:
        # Of a child that Beam reaps when it stops it, so that this one it has not stopped.
        ended = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return REAPED_BY_BEAM in command
    if ended is None or ended.si_code == os.CLD_EXITED:
        return False
    return ended.si_status != signal.SIGINT  # at a terminal they hear Ctrl-C too
