"""How many requests a server gets at once: fewer when it says "too many", then slowly more.

Additive increase, multiplicative decrease, as TCP does (RFC 5681, section 3.1).
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Throttle:
    """The slots of requests to one server; used by the tasks of one event loop."""

    def __init__(self, most: int, longest_pause_s: float) -> None:
        self.limit = float(most)  # whole requests of it may be in flight
        self._most, self._longest_pause_s = most, longest_pause_s
        self._in_flight = 0
        self._decreases = 0
        self._opens_at = 0.0  # by time.monotonic(); no request is sent before
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """Wait for a slot and hold it; the number given is for `too_many`."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._in_flight < int(self.limit))
            self._in_flight += 1
        try:
            while (pause_s := self._opens_at - time.monotonic()) > 0:
                await asyncio.sleep(pause_s)
            yield self._decreases
        finally:
            self._in_flight -= 1
            async with self._changed:
                self._changed.notify_all()

    def too_many(self, since: int, retry_after_s: float) -> None:
        """Halve the limit, and send nothing for as long as the server says.

        Requests that were in flight at the last decrease halve nothing again: their answers say
        nothing of the new limit.
        """
        pause_s = min(retry_after_s, self._longest_pause_s)
        self._opens_at = max(self._opens_at, time.monotonic() + pause_s)
        if since == self._decreases:
            self._decreases += 1
            self.limit = max(1.0, self.limit / 2)

    def answered(self) -> None:
        """Raise the limit by one for as many answers as it has slots."""
        self.limit = min(float(self._most), self.limit + 1 / self.limit)
