"""Fetching of the images of one shard over HTTP, in parallel, with one result per URL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from yarl import URL

from pipelines.fetch.addresses import check_url, parse_url
from pipelines.fetch.client import AttemptFailedError, HttpClient, backoff_s, open_session
from pipelines.fetch.hosts import Hosts, Visit
from pipelines.fetch.types import Fetched, Fetcher, FetchFailure, FetchLimits, Sink
from pipelines.fetch.urls import wire_url

__all__ = ["FetchFailure", "FetchLimits", "Fetched", "Fetcher", "HttpFetcher", "Sink"]
__all__ += ["check_url", "fetch_all"]

_DOWN: dict[str, float] = {}  # hosts that this process gave up, and when


@dataclass(frozen=True, slots=True)
class HttpFetcher:
    """The `Fetcher` of this package."""

    limits: FetchLimits

    def __call__(self, requests: Iterable[tuple[int, str]], sink: Sink) -> None:
        """Fetch all of `requests`, see `fetch_all`."""
        fetch_all(requests, self.limits, sink)


def fetch_all(requests: Iterable[tuple[int, str]], limits: FetchLimits, sink: Sink) -> None:
    """Fetch every (index, url); call `sink` once for each, in completion order.

    `sink` runs in the calling thread and should be fast, because all requests wait for it while
    their time limits run. All of `requests` is read first, so that URLs of a host that is slow, or
    asks for patience, do not hold up those of others.

    It retries 429, 5xx, broken connections and temporary failures of a name server; but not a
    time-out, which has already taken its full time. Each attempt follows redirects again; each
    redirect waits for its turn at its own host. 429 and 503 hold for the host: it gets no request
    before the pause is over, and none at all if it asks for more than `max_retry_after_s`. A host
    that gives no answer `host_failures` times in a row is given up.
    Compressed bodies are not requested, but an image in one is decompressed, up to the limit on
    bytes. There are no cookies, and no proxies from the environment.

    Raises:
        RuntimeError: an event loop already runs in this thread.
        Exception: any error of `requests` or `sink`; running requests are cancelled.
    """
    try:
        asyncio.run(_fetch_shard(requests, limits, sink))
    except BaseExceptionGroup as group:  # from the task group; callers expect their own error
        raise group.exceptions[0] from None


async def _fetch_shard(
    requests: Iterable[tuple[int, str]], limits: FetchLimits, sink: Sink
) -> None:
    # Names are resolved in threads; the default pool has few, and slow names would fill it.
    clock = asyncio.get_running_loop()
    clock.set_default_executor(ThreadPoolExecutor(limits.concurrency, thread_name_prefix="resolve"))
    async with open_session(limits) as session, asyncio.TaskGroup() as group:
        client = HttpClient(session=session, limits=limits)
        crawl = _Crawl(limits=limits, hosts=Hosts(limits, _DOWN), sink=sink)
        for index, url in requests:
            crawl.add(index, url)
        running: dict[asyncio.Task[Fetched | URL | AttemptFailedError], Visit] = {}
        while running or crawl.hosts.waiting:
            now = clock.time()
            while len(running) < limits.concurrency and (visit := crawl.next(now)):
                running[group.create_task(_outcome(client, visit))] = visit
            full = len(running) == limits.concurrency
            pause_s = None if full else crawl.hosts.wait_s(now)
            if not running:
                await asyncio.sleep(pause_s or 0)
                continue
            done, _ = await asyncio.wait(
                running, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                crawl.settle(running.pop(task), task.result(), clock.time())


async def _outcome(client: HttpClient, visit: Visit) -> Fetched | URL | AttemptFailedError:
    try:
        return await client.request(visit)
    except AttemptFailedError as failed:
        return failed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Crawl:
    """Decides what follows from each request."""

    limits: FetchLimits
    hosts: Hosts
    sink: Sink
    # Hosts that get no further request from this shard, and why.
    closed: dict[str, AttemptFailedError] = field(default_factory=dict)

    def add(self, index: int, url: str) -> None:
        """Let a listed URL wait for its turn, or refuse it."""
        reason = check_url(url)
        first = URL() if reason else wire_url(parse_url(url), url)
        visit = Visit(index, url, first, self.limits.timeout_s, requested=[first])
        if reason:
            self._fail(visit, AttemptFailedError("bad_url", reason))
        else:
            self._wait(visit)

    def next(self, now: float) -> Visit | None:
        """Return a URL whose request may start; those of hosts that are down fail."""
        while visit := self.hosts.take(now):
            if not self.hosts.given_up(visit.host, now):
                return visit
            self.hosts.end(visit.host)
            self._close(visit.host, _down(visit.host, "a short while ago"))
            self._fail(visit, self.closed[visit.host])
        return None

    def settle(self, visit: Visit, outcome: Fetched | URL | AttemptFailedError, now: float) -> None:
        """Hand a result over, or let the URL wait for its next request."""
        host = visit.host
        self.hosts.end(host)
        if isinstance(outcome, AttemptFailedError) and outcome.unreachable:
            if self.hosts.failed(host, now):
                self._close(host, _down(host, outcome.detail))
        else:
            self.hosts.answered(host)
        if isinstance(outcome, Fetched):
            self.sink(visit.index, outcome)
        elif isinstance(outcome, URL):
            self._follow(visit, outcome)
        else:
            self._failed(visit, outcome, now)

    def _follow(self, visit: Visit, target: URL) -> None:
        most = self.limits.max_redirects
        if len(visit.requested) > most:
            self._fail(visit, AttemptFailedError("too_many_redirects", f"over {most} redirects"))
            return
        visit.requested.append(target)
        self._wait(visit)

    def _failed(self, visit: Visit, failed: AttemptFailedError, now: float) -> None:
        """Retry a URL or hand its failure over; hold its host if that asks for patience."""
        again = now + backoff_s(visit, self.limits)
        if failed.asks_for_patience:
            if failed.retry_after_s > self.limits.max_retry_after_s:
                self._close(visit.host, _busy(visit.host, failed, self.limits))
            again = max(again, now + failed.retry_after_s)
            self.hosts.hold(visit.host, again)
        if not failed.retry or visit.attempt == self.limits.retries or visit.host in self.closed:
            self._fail(visit, failed)
            return
        visit.attempt += 1
        visit.requested, visit.left_s = [visit.first], self.limits.timeout_s
        visit.opt_outs.clear()
        self._wait(visit, at=again)

    def _wait(self, visit: Visit, at: float = 0.0) -> None:
        if why := self.closed.get(visit.host):
            self._fail(visit, why)
        else:
            self.hosts.add(visit, at)

    def _close(self, host: str, why: AttemptFailedError) -> None:
        """Make no further request to a host; the URLs that wait for it fail."""
        self.closed[host] = why
        for visit in self.hosts.drain(host):
            self._fail(visit, why)

    def _fail(self, visit: Visit, failed: AttemptFailedError) -> None:
        self.sink(visit.index, failed.failure(visit))


def _down(host: str, last: str) -> AttemptFailedError:
    return AttemptFailedError("host_down", f"not requested: {host} did not answer others, {last}")


def _busy(host: str, failed: AttemptFailedError, limits: FetchLimits) -> AttemptFailedError:
    detail = f"{failed.status} with a Retry-After of {failed.retry_after_s:,.0f} s"
    allowed = f"max_retry_after_s is {limits.max_retry_after_s}"
    return AttemptFailedError("host_busy", f"not requested: {host} answered {detail}, {allowed}")
