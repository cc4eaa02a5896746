"""A time limit for one image, as the last resort after `filters.decode_work`.

The work runs in a thread of its own and whoever asked for it waits no longer than the limit. This
holds in every process and on every engine, because Pillow's decoders let other threads run
(tests/pipelines/test_decode_clock.py sees to it); nobody is killed, so neither a driver nor a
worker of Beam's is lost. A thread that is left behind takes its core until its decoder returns.

That cannot help against C code that keeps Python's lock. For it there are two more lines, both
outside of Python: in a worker of the local pool a timer of C ends the process, its shard begins
anew in a watched child (`pipelines.attempts`), and there the watcher, which is another process,
kills the child and puts the death down to the image (`pipelines.watched`). In the driver, with
`--processes 1`, and in Beam's own workers there is no such line before a shard is watched.
"""

import faulthandler
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from queue import Empty, SimpleQueue
from typing import Any, TextIO, TypeVar

from filters.decode import DecodeError
from pipelines.in_hand import DECODE_TIMEOUT, GRACE_S, clocked, too_late

T = TypeVar("T")

MOST_LEFT_BEHIND = 2  # threads, in a worker that can be replaced

_idle: deque["_Hand"] = deque()
_left_behind: list["_Hand"] = []
_is_replaceable = False


def within(seconds: float, function: Callable[[], T]) -> T:
    """Return what a call returns, or raise what it raises, if it ends in time.

    Raises:
        DecodeError: `decode_timeout` if it does not.
    """
    hand = _take()
    with clocked(seconds), _timer_of_c(seconds + GRACE_S):
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
    """Allow this process to be ended where a decoder cannot be left: it will be replaced."""
    global _is_replaceable
    _is_replaceable = True


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
    if _is_replaceable and len(_left_behind) > MOST_LEFT_BEHIND:
        os._exit(1)


_clocks = 0
_counting = threading.Lock()


@contextmanager
def _timer_of_c(seconds: float) -> Iterator[None]:
    """End this process after so many seconds in which Python did not run, if it is replaceable.

    There is one such timer a process, set anew by each image.
    """
    global _clocks
    if not _is_replaceable:
        yield
        return
    with _counting:
        _clocks += 1
        faulthandler.dump_traceback_later(seconds, exit=True, file=_nowhere())
    try:
        yield
    finally:
        with _counting:
            _clocks -= 1
            if not _clocks:
                faulthandler.cancel_dump_traceback_later()


@cache
def _nowhere() -> TextIO:
    return open(os.devnull, "w")
