"""Fetching of the images of one shard over HTTP, in parallel, with one result per URL."""

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

    `sink` runs in the calling thread and should be fast, because all requests wait for it while
    their time limits run. `requests` is read at most `limits.concurrency` ahead of `sink`. It
    retries 429, 5xx, broken connections and temporary failures of a name server; but not a
    time-out, which has already taken its full time. Each attempt follows redirects again.
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
