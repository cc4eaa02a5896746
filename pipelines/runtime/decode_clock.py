"""A time limit for one image, as the last resort after `filters.decode_work`.

The work runs in a thread of its own and whoever asked for it waits no longer than the limit. This
holds in every process and on every engine, and nobody is killed for it, so neither a driver nor a
worker is lost. A thread that is left behind takes its core until its decoder returns; a worker
with several of them ends.

It cannot help against C code that keeps Python's lock, as Pillow's AVIF decoder does, alone of
those that are read (tests/pipelines/runtime/test_decode_clock.py). For that there are two more
lines, both outside of Python. Workers, of the local pool or Beam's, are ended by a timer of the
kernel, whose signal has no handler that could wait; the shard begins anew in a watched child
(`pipelines.runtime.attempts`). There the watcher, another process, kills the child and puts the
death down to the image (`pipelines.runtime.watched`). Only a driver that decodes itself, as with
`--processes 1`, has no line after the first: it waits for such a decoder.
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
from pipelines.runtime.in_hand import DECODE_TIMEOUT, beyond_help_s, clocked, is_watched, too_late

T = TypeVar("T")

MOST_LEFT_BEHIND = 2  # threads, in a worker that can be replaced
BEAMS_WORKER = "apache_beam.runners.worker.sdk_worker_main"

_idle: deque["_Hand"] = deque()
_left_behind: list["_Hand"] = []
_is_a_pools = False


def within(seconds: float, function: Callable[[], T], *, is_brief: bool = False) -> T:
    """Return what a call returns, or raise what it raises, if it ends in time.

    On a machine with more to do than cores a thread waits for its turn each time that it is woken.
    So a call that is likely brief is made in place by workers, who have the kernel's timer.

    Raises:
        DecodeError: `decode_timeout` if it does not.
    """
    if is_brief and _is_replaceable():
        with _kernel_timer(beyond_help_s(seconds)):
            return function()
    hand = _take()
    with clocked(seconds), _kernel_timer(beyond_help_s(seconds)):
        try:
            value, error = hand.call(function, seconds)
        except Empty:
            _leave_behind(hand)
            raise DecodeError(DECODE_TIMEOUT, too_late(seconds)) from None
    _idle.append(hand)
    if error is not None:
        raise error
    return value


def let_end() -> None:
    """Say that this process is a worker of our pool, which replaces those that end."""
    global _is_a_pools
    _is_a_pools = True


def _is_replaceable() -> bool:
    """Whether this is a worker that its pool or runner replaces; its watched children are not."""
    if is_watched():
        return False
    main = getattr(sys.modules["__main__"], "__spec__", None)
    return _is_a_pools or getattr(main, "name", "") == BEAMS_WORKER


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
    """End this process after so many seconds in which Python did not run, if it is replaceable.

    There is one such timer a process, set anew by each image.
    """
    global _clocks
    if not _is_replaceable():
        yield
        return
    with _counting:
        _clocks += 1
        signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        with _counting:
            _clocks -= 1
            if not _clocks:
                signal.setitimer(signal.ITIMER_REAL, 0)
