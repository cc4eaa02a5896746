"""Which request may start: hosts wait apart, so that a slow one delays no other."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from yarl import URL

from pipelines.fetch.types import FetchLimits

DOWN_S = 60.0  # a host that was given up is asked again after so long, with one request


@dataclass(slots=True, eq=False)
class Visit:
    """A URL of the list that is under way."""

    index: int  # in the list
    listed: str
    first: URL  # the listed one, as requested
    left_s: float  # of the time for this attempt, over all its redirects
    attempt: int = 0
    requested: list[URL] = field(default_factory=list)  # of this attempt; the last one is next
    opt_outs: list[str] = field(default_factory=list)  # headers of this attempt, see `consent`

    @property
    def host(self) -> str:
        """Host and port of the next request."""
        url = self.requested[-1]
        return f"{url.raw_host}:{url.port}"


@dataclass(slots=True, eq=False)
class _Host:
    waiting: list[tuple[float, int, Visit]] = field(default_factory=list)  # a heap, by moment
    running: int = 0
    most: int = 0  # requests at once
    open_at: float = 0.0  # no request starts before, in seconds of the clock
    failures: int = 0  # in a row: no connection, or no answer in time


class Hosts:
    """The URLs that wait for their turn, by host.

    Moments are seconds of any clock that does not go back.

    Args:
        limits: of the shard.
        down: hosts that were given up by this process, and when; it is read and written.
    """

    def __init__(self, limits: FetchLimits, down: dict[str, float]) -> None:
        self._limits = limits
        self._down = down
        self._hosts: dict[str, _Host] = {}
        # (moment, number, host): it may have a request to start then. Outdated ones are passed.
        self._ready: list[tuple[float, int, str]] = []
        self._number = itertools.count()
        self.waiting = 0  # URLs

    def add(self, visit: Visit, at: float = 0.0) -> None:
        """Let a URL wait for its turn, which does not come before `at`."""
        host = self._host(visit.host)
        heapq.heappush(host.waiting, (at, next(self._number), visit))
        self.waiting += 1
        self._offer(visit.host, at)

    def take(self, now: float) -> Visit | None:
        """Return a URL whose request may start now; hosts that are ready take turns."""
        while self._ready and self._ready[0][0] <= now:
            _, _, name = heapq.heappop(self._ready)
            host = self._hosts[name]
            if not host.waiting or host.running >= host.most:
                continue  # it is offered again when a request ends
            if (moment := max(host.open_at, host.waiting[0][0])) > now:
                self._offer(name, moment)
                continue
            _, _, visit = heapq.heappop(host.waiting)
            self.waiting -= 1
            host.running += 1
            host.open_at = max(host.open_at, now + self._limits.min_delay_s)
            self._offer(name, host.open_at)
            return visit
        return None

    def wait_s(self, now: float) -> float | None:
        """Return how long no request can start, unless one ends; None for no such moment."""
        return max(0.0, self._ready[0][0] - now) if self._ready else None

    def end(self, name: str) -> None:
        """Note that a request to a host has ended."""
        self._hosts[name].running -= 1
        self._offer(name, 0.0)

    def hold(self, name: str, until: float) -> None:
        """Start no request to a host before a moment."""
        host = self._host(name)
        host.open_at = max(host.open_at, until)

    def answered(self, name: str) -> None:
        """Note that a host has answered, whatever it said."""
        host = self._hosts[name]
        host.failures, host.most = 0, self._most
        self._down.pop(name, None)

    def failed(self, name: str, now: float) -> bool:
        """Note that a host gave no connection, or no answer in time; return whether it is down."""
        host = self._hosts[name]
        host.failures += 1
        if not self._limits.host_failures or host.failures < self._limits.host_failures:
            return False
        self._down[name] = now
        return True

    def given_up(self, name: str, now: float) -> bool:
        """Return whether this process gave a host up a short while ago."""
        return name in self._down and now < self._down[name] + DOWN_S

    def drain(self, name: str) -> Iterator[Visit]:
        """Take all URLs that wait for a host."""
        host = self._host(name)
        self.waiting -= len(host.waiting)
        waiting, host.waiting = host.waiting, []
        yield from (visit for _, _, visit in sorted(waiting))

    @property
    def _most(self) -> int:
        return self._limits.max_per_host or self._limits.concurrency

    def _host(self, name: str) -> _Host:
        if name not in self._hosts:
            # A host that was down gets one request, and the others if it answers.
            was_down = name in self._down
            failures = self._limits.host_failures - 1 if was_down else 0
            self._hosts[name] = _Host(most=1 if was_down else self._most, failures=failures)
        return self._hosts[name]

    def _offer(self, name: str, at: float) -> None:
        if self._hosts[name].waiting:
            heapq.heappush(self._ready, (at, next(self._number), name))
