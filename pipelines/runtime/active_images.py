"""Report the images that a process works on to the process that watches it.

`pipelines.runtime.crash_isolation` starts processes that are watched. Any other tells nothing, and
pays nothing for it.
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


@dataclass(frozen=True, kw_only=True)
class DecodePolicy:
    """How an isolated process treats its images."""

    # Images that are refused: key -> reason and detail of the DecodeError.
    crashing_keys: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    only: frozenset[str] | None = None  # work on these alone, and on one at a time

    def check(self, key: str) -> None:
        """Raise the DecodeError of an image that is refused."""
        if key in self.crashing_keys:
            raise DecodeError(*self.crashing_keys[key])
        if self.only is not None and key not in self.only:
            raise DecodeError("not_asked_for", key)


@dataclass(kw_only=True)
class _Watched:
    policy: DecodePolicy
    line: Connection  # to who watches
    active: set[str] = field(default_factory=set)
    timeout_s: float = 0.0  # of each image
    # Threads take turns where images are tried one at a time, and always to tell.
    turn: Any = field(default_factory=threading.RLock)
    telling: Any = field(default_factory=threading.Lock)

    def tell(self) -> None:
        self.line.send(("active", (frozenset(self.active), self.timeout_s)))


_watched: _Watched | None = None


def be_watched(line: Connection, policy: DecodePolicy) -> None:
    """Tell from now on over `line`: ("active", (keys, timeout_s)), at each change."""
    global _watched
    _watched = _Watched(policy=policy, line=line)


def is_watched() -> bool:
    """Whether another process watches this one."""
    return _watched is not None


@contextmanager
def active_images(*keys: str) -> Iterator[None]:
    """Report images as active while the body decodes them or computes on them.

    Raises:
        DecodeError: `killed_worker` or `decode_timeout` for an image that is known for it, before
            the body is entered.
    """
    if (watched := _watched) is None:
        yield
        return
    for key in keys:
        watched.policy.check(key)
    with nullcontext() if watched.policy.only is None else watched.turn:
        with watched.telling:
            watched.active.update(keys)
            watched.tell()
        try:
            yield
        finally:
            with watched.telling:
                watched.active.difference_update(keys)
                watched.tell()


def tell_timeout(seconds: float) -> None:
    """Tell the time limit of each image, which an active one may come to die of."""
    if _watched is not None and _watched.timeout_s != seconds:
        with _watched.telling:
            _watched.timeout_s = seconds
            _watched.tell()


def most_at_once(images: int) -> int:
    """Return how many images a batch may hold: `images`, but one where each is tried alone."""
    return images if _watched is None or _watched.policy.only is None else 1
