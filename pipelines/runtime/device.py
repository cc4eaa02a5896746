"""What stages that compute on a device share: preparation ahead of it, and turns on it."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar

MAX_DECODE_THREADS = 16

# Threads of a worker take turns on its device, because GPU memory suffices for one batch.
device_lock = threading.Lock()

T = TypeVar("T")
R = TypeVar("R")


def decode_threads() -> int:
    """Return the number of decode threads for a device; one for a CPU, which needs its cores."""
    import torch

    if not torch.cuda.is_available():
        return 1
    return min(MAX_DECODE_THREADS, os.cpu_count() or 1)


@dataclass(kw_only=True)
class DeviceClock:
    """Measures how long a device waits for the prepared images of a shard.

    Preparation is decoding, resizing and what scorers compute in `prepare`, such as OCR on a CPU.
    """

    started: float = field(default_factory=time.monotonic)  # seconds
    waited: float = 0.0  # seconds
    images: int = 0  # that were waited for

    @property
    def share(self) -> float | None:
        """Return the share of the time since the start, 0..1; None if there was no image."""
        return self.waited / (time.monotonic() - self.started) if self.images else None

    def wait(self, future: "Future[T]") -> T:
        """Return the result of a future; the seconds until it is there are waiting."""
        begun = time.monotonic()
        try:
            return future.result()
        finally:
            self.waited += time.monotonic() - begun
            self.images += 1


def prepared_ahead(
    requests: Iterable[T],
    prepare: Callable[[T], R],
    clock: DeviceClock,
    threads: Callable[[], int] = decode_threads,
) -> Iterator[R]:
    """Yield what `prepare` makes of each request, in order; threads work ahead of the caller.

    Up to two results a thread wait to be taken. Nothing is started, and no library imported, if
    there is no request.
    """
    waiting: Iterator[Any] = iter(requests)
    if (first := next(waiting, None)) is None:
        return
    count = threads()
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(count) as pool:
        for request in chain([first], waiting):
            pending.append(pool.submit(prepare, request))
            if len(pending) > 2 * count:
                yield clock.wait(pending.popleft())
        while pending:
            yield clock.wait(pending.popleft())
