"""A time limit for one image, as the last resort after `filters.decode_work`.

The work runs in a thread of its own and whoever asked for it waits no longer than the limit. This
holds in every process and on every engine, and nobody is killed for it, so neither a driver nor a
worker is lost. A thread that is left behind takes its core until its decoder returns; a worker
with several of them ends.

It cannot help against C code that keeps Python's lock, as Pillow's AVIF decoder does, alone of
those that are read (tests/pipelines/runtime/test_decode_clock.py). For that there is a timer of the
kernel, whose signal has no handler that could wait: it ends workers, of the local pool or Beam's,
and the shard begins anew in a child process, which the timer ends too and whose parent puts the
death down to the image (`pipelines.runtime.crash_isolation`). Only a driver that decodes itself, as
with `--processes 1`, has no line after the first: it waits for such a decoder.

A pool of `concurrent.futures` would do for the threads, but at its exit Python waits for those that
never return. The time limits of pebble and loky are those of a process, which an image would have
to be sent to and its pixels back.
"""

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from filters.decode import DecodeError
from pipelines.engines.lasting_pool import is_pool_worker
from pipelines.runtime.active_images import DECODE_TIMEOUT, is_watched, tell_timeout

T = TypeVar("T")

MOST_LEFT_BEHIND = 2  # threads, in a worker that can be replaced
MOST_GRACE_S = 5.0  # beyond the limit, before the kernel's timer ends the process
BEAMS_WORKER = "apache_beam.runners.worker.sdk_worker_main"
TIMER = "SIGALRM"  # what a process dies of that the kernel's timer ends

_idle: deque["_Hand"] = deque()
_left_behind: list["_Hand"] = []


def within(seconds: float, function: Callable[[], T], *, is_brief: bool = False) -> T:
    """Return what a call returns, or raise what it raises, if it ends in time.

    On a machine with more to do than cores a thread waits for its turn each time that it is woken.
    So a call that is likely brief is made in place by workers, who have the kernel's timer.

    Raises:
        DecodeError: `decode_timeout` if it does not.
    """
    tell_timeout(seconds)
    if is_brief and _is_replaceable():
        with _kernel_timer(seconds):
            return function()
    hand = _take()
    with _kernel_timer(seconds):
        try:
            value, error = hand.call(function, seconds)
        except Empty:
            _leave_behind(hand)
            raise DecodeError(DECODE_TIMEOUT, too_late(seconds)) from None
    _idle.append(hand)
    if error is not None:
        raise error
    return value


def too_late(seconds: float) -> str:
    """Describe an image whose decoding took too long."""
    return f"not decoded in {seconds:g} s, which decode.timeout_s allows"


def _is_replaceable() -> bool:
    """Whether this is a worker that its pool or runner replaces; an isolated child is not."""
    if is_watched():
        return False
    main = getattr(sys.modules["__main__"], "__spec__", None)
    return is_pool_worker() or getattr(main, "name", "") == BEAMS_WORKER


class _Hand:
    """A thread that makes one call after another, for one caller at a time."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._calls: SimpleQueue[Callable[[], Any]] = SimpleQueue()
        self._answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._is_wanted = True
        # A daemon, so that no process waits for it to end.
        self._thread = threading.Thread(target=self._work, name="decode", daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], Any], seconds: float) -> tuple[Any, BaseException | None]:
        self._calls.put(function)
        return self._answers.get(timeout=seconds)

    def dismiss(self) -> None:
        """Have the thread end with its call."""
        self._is_wanted = False

    @property
    def is_busy(self) -> bool:
        return self._thread.is_alive()

    def _work(self) -> None:
        while self._is_wanted:
            function = self._calls.get()
            try:
                answer = function(), None
            except BaseException as error:  # the caller's to raise
                answer = None, error
            self._answers.put(answer)
            del function, answer  # or it would keep pixels while it waits


def _take() -> _Hand:
    with suppress(IndexError):
        hand = _idle.pop()
        if hand.pid == os.getpid():  # or a fork has left its thread behind
            return hand
    return _Hand()


def _leave_behind(hand: _Hand) -> None:
    hand.dismiss()
    _left_behind[:] = [each for each in (*_left_behind, hand) if each.is_busy]
    if _is_replaceable() and len(_left_behind) > MOST_LEFT_BEHIND:
        os.kill(os.getpid(), signal.SIGKILL)


_clocks = 0
_counting = threading.Lock()


@contextmanager
def _kernel_timer(seconds: float) -> Iterator[None]:
    """End this process soon after so many seconds in which Python did not run, if it may end.

    There is one such timer a process, set anew by each image.
    """
    global _clocks
    if not (_is_replaceable() or is_watched()):
        yield
        return
    with _counting:
        _clocks += 1
        signal.setitimer(signal.ITIMER_REAL, seconds + min(seconds, MOST_GRACE_S))
    try:
        yield
    finally:
        with _counting:
            _clocks -= 1
            if not _clocks:
                signal.setitimer(signal.ITIMER_REAL, 0)
