"""Beam's own worker processes on this machine: when one is killed, its job ends at once.

The in-process runner asks a worker for its answer and waits, for ever if the worker is gone: all
that its death does is to raise in the thread that waited for the process (Beam 2.77,
SubprocessSdkWorker). Here that reaches the thread that waits for the job. `loopback_workers` has
those of an embedded Spark, Flink or Prism raise likewise.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

WATCHING_THREAD = "run_worker"  # as Beam names it


class WorkerDiedError(Exception):
    """A worker process ended before its job."""


@contextmanager
def noticed_deaths() -> Iterator[None]:
    """End the job in the body when one of its worker processes dies; for the main thread.

    Those that end once somebody has pressed Ctrl-C are no such death.

    Raises:
        WorkerDiedError: says how.
    """
    deaths: list[str] = []
    before, interrupt = threading.excepthook, signal.getsignal(signal.SIGINT)
    pressed = threading.Event()

    def notice(error: threading.ExceptHookArgs) -> None:
        if error.thread is None or error.thread.name != WATCHING_THREAD:
            before(error)
            return
        if pressed.is_set():
            return
        deaths.append(str(error.exc_value))
        if len(deaths) == 1:
            # A real signal, which wakes a thread that waits for a lock.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def interrupted(number: int, frame: FrameType | None) -> None:
        if deaths:  # though whoever started this may have it ignore Ctrl-C
            raise KeyboardInterrupt
        if callable(interrupt):
            pressed.set()
            interrupt(number, frame)

    threading.excepthook = notice
    signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    except KeyboardInterrupt:
        if deaths:
            raise WorkerDiedError(deaths[0]) from None
        raise
    finally:
        threading.excepthook = before
        if (
            signal.getsignal(signal.SIGINT) is interrupted
        ):  # or that of a job server, which calls it
            signal.signal(signal.SIGINT, interrupt)
