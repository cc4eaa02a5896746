"""Which images a worker has in hand, said aloud: whoever watches it can name what killed it.

A process that nobody watches says nothing, and pays nothing for it. `pipelines.runtime.watched`
starts those that are watched.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from filters.decode import DecodeError

KILLED_WORKER = "killed_worker"
DECODE_TIMEOUT = "decode_timeout"
MOST_GRACE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What a watched process is told beforehand."""

    # key -> reason and detail of the DecodeError that it is refused with
    killers: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    only: frozenset[str] | None = None  # take up these alone, and one at a time


@dataclass(kw_only=True)
class _Watched:
    orders: Orders
    line: Connection  # to the watcher
    # Threads take turns where images are tried one at a time, and always to speak.
    _turn: Any = field(default_factory=threading.RLock)
    _saying: Any = field(default_factory=threading.Lock)

    def refuse(self, key: str) -> None:
        if key in self.orders.killers:
            raise DecodeError(*self.orders.killers[key])
        if self.orders.only is not None and key not in self.orders.only:
            raise DecodeError("not_asked_for", key)

    @contextmanager
    def holding(self, keys: tuple[str, ...]) -> Iterator[None]:
        with nullcontext() if self.orders.only is None else self._turn:
            self._say("up", keys)
            try:
                yield
            finally:
                self._say("down", keys)

    @contextmanager
    def clocked(self, seconds: float) -> Iterator[None]:
        thread = threading.get_ident()
        self._say("clock", (thread, seconds))
        try:
            yield
        finally:
            self._say("clock", (thread, None))

    def _say(self, what: str, about: tuple[Any, ...]) -> None:
        with self._saying:
            self.line.send((what, about))


_watched: _Watched | None = None


def be_watched(line: Connection, orders: Orders) -> None:
    """Say from now on over `line` what is taken up and laid down: ("up" or "down", keys).

    Also until when the watcher must have heard of an image: ("clock", (thread, seconds or None)).
    """
    global _watched
    _watched = _Watched(orders=orders, line=line)


def is_watched() -> bool:
    """Whether another process watches this one."""
    return _watched is not None


@contextmanager
def in_hand(*keys: str) -> Iterator[None]:
    """Have images in hand while the body decodes them or computes on them.

    Raises:
        DecodeError: `killed_worker` or `decode_timeout` for an image that is known for it, before
            the body is entered.
    """
    if _watched is None:
        yield
        return
    for key in keys:
        _watched.refuse(key)
    with _watched.holding(keys):
        yield


@contextmanager
def clocked(seconds: float) -> Iterator[None]:
    """Have the watcher, if there is one, end this process where the body takes much longer."""
    if _watched is None:
        yield
        return
    with _watched.clocked(seconds):
        yield


def beyond_help_s(seconds: float) -> float:
    """Return when an image with a limit of `seconds` is beyond the help of its own process."""
    return seconds + min(seconds, MOST_GRACE_S)


def too_late(seconds: float) -> str:
    """Say what became of an image whose decoding took longer."""
    return f"not decoded in {seconds:g} s, which decode.timeout_s allows"


def most_at_once(images: int) -> int:
    """Return how many images a batch may hold: `images`, but one where each is tried alone."""
    return images if _watched is None or _watched.orders.only is None else 1
