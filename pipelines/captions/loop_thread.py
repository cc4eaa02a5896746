"""An event loop in a thread of its own, for callers that are not asynchronous."""

import asyncio
import queue
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class LoopThread:
    """Runs coroutines in its thread until `stop`, or until it is collected."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=_run, args=(self._loop,), name="captions", daemon=True).start()
        self.stop = weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)

    def start(self, coroutine: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Start a coroutine."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def results(
        self,
        work: Callable[[Item], Coroutine[Any, Any, Result]],
        items: Iterable[Item],
        at_once: int,
    ) -> Iterator[Result]:
        """Yield the results of work on items, as they come; so many items are taken ahead.

        The first error ends it, after the results that were there before.
        """
        return _Running(self, work, at_once).results(items)


class _Running(Generic[Item, Result]):
    """Work that runs, and what has ended."""

    def __init__(
        self, thread: LoopThread, work: Callable[[Item], Coroutine[Any, Any, Result]], at_once: int
    ) -> None:
        self._thread, self._work, self._at_once = thread, work, at_once
        self._running: set[Future[Result]] = set()
        self._ended: queue.SimpleQueue[Future[Result]] = queue.SimpleQueue()

    def results(self, items: Iterable[Item]) -> Iterator[Result]:
        waiting = iter(items)
        try:
            while self._fill(waiting):
                future = self._ended.get()
                self._running.remove(future)
                if future.exception() is not None:
                    yield from self._other_results()
                yield future.result()
        finally:
            for future in self._running:
                future.cancel()

    def _fill(self, waiting: Iterator[Item]) -> bool:
        """Start work until enough runs; return whether any does."""
        for item in islice(waiting, self._at_once - len(self._running)):
            future = self._thread.start(self._work(item))
            self._running.add(future)
            future.add_done_callback(self._ended.put)
        return bool(self._running)

    def _other_results(self) -> Iterator[Result]:
        while not self._ended.empty():
            future = self._ended.get()
            if future.exception() is None:
                yield future.result()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    with asyncio.Runner(loop_factory=lambda: loop):  # which ends what still runs
        loop.run_forever()
