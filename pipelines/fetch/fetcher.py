"""Fetch the images of one shard over HTTP: many at once, safely, each ending in one result."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pipelines.fetch.addresses import check_url
from pipelines.fetch.client import HttpClient, open_session
from pipelines.fetch.types import Fetched, Fetcher, FetchFailure, FetchLimits, Sink

__all__ = ["FetchFailure", "FetchLimits", "Fetched", "Fetcher", "HttpFetcher", "Sink"]
__all__ += ["check_url", "fetch_all"]


@dataclass(frozen=True, slots=True)
class HttpFetcher:
    """The `Fetcher` of this package."""

    limits: FetchLimits

    def __call__(self, requests: Iterable[tuple[int, str]], sink: Sink) -> None:
        """Fetch all of `requests`, see `fetch_all`."""
        fetch_all(requests, self.limits, sink)


def fetch_all(requests: Iterable[tuple[int, str]], limits: FetchLimits, sink: Sink) -> None:
    """Fetch every (index, url); call `sink` once for each, in completion order.

    `sink` runs in the calling thread and should be quick, as all requests wait for it, their
    time limits running. `requests` is read only as requests end: at most `limits.concurrency`
    ahead of `sink`. Retried are 429, 5xx, a broken connection and a name server's temporary
    failure; not a time-out, which has already had its full time. Redirects start anew with each
    attempt. Compressed bodies are not asked for; an image that comes in one all the same is
    decompressed, up to the limit on bytes. No cookies, no proxies of the environment.

    Raises:
        RuntimeError: called where an event loop runs already.
        Exception: whatever `requests` or `sink` raises; the requests in flight are abandoned.
    """
    try:
        asyncio.run(_fetch_shard(requests, limits, sink))
    except BaseExceptionGroup as group:  # from the task group; callers expect their own error
        raise group.exceptions[0] from None


async def _fetch_shard(
    requests: Iterable[tuple[int, str]], limits: FetchLimits, sink: Sink
) -> None:
    # Names are resolved in threads, and the default pool has but a few: dead names would fill it.
    pool = ThreadPoolExecutor(limits.concurrency, thread_name_prefix="resolve")
    asyncio.get_running_loop().set_default_executor(pool)
    pending = iter(requests)
    async with open_session(limits) as session, asyncio.TaskGroup() as group:
        client = HttpClient(session=session, limits=limits)
        running: dict[asyncio.Task[Fetched | FetchFailure], int] = {}

        def start(number: int) -> None:
            for index, url in itertools.islice(pending, number):
                running[group.create_task(client.fetch(url))] = index

        start(limits.concurrency)
        while running:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                sink(running.pop(task), task.result())
                start(1)
