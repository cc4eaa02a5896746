"""What goes into a fetcher and what comes out of it, whichever fetcher it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """How much a shard's fetch may ask of the network, of a server, and of memory.

    Peak memory is about `concurrency * max_bytes` in the worst case, as only bodies in flight
    are held.

    Raises:
        ValueError: `concurrency` below 1, or another number below 0.
    """

    concurrency: int = 64  # requests in flight a shard
    timeout_s: float = 20.0  # one whole attempt: name, connection, redirects, body
    max_bytes: int = 20_000_000  # of a body
    retries: int = 2  # further attempts, see `fetch_all`
    backoff_s: float = 0.5  # pause before the first retry, doubled for each later one
    max_retry_after_s: float = 30.0  # longest wait a server's Retry-After can ask for
    max_redirects: int = 5
    max_per_host: int = 16  # requests in flight to one host of the list, 0 for no limit
    allow_private_addresses: bool = False
    user_agent: str = "vargpt-corpus/0.1"
    robots_directives: tuple[str, ...] = ("noai", "noimageai", "noindex")

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, got {self.concurrency}")
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, int | float) and value < 0:
                raise ValueError(f"{each.name} must not be negative, got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An image file as a server sent it."""

    body: bytes
    final_url: str  # after redirects
    status: int  # of HTTP
    content_type: str  # as sent, "" if none
    robots: str  # X-Robots-Tag as sent, several joined by ", ", "" if none


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFailure:
    """Why a URL gave no image.

    `error` is one of `http_<status>`, `timeout`, `too_large`, `too_many_redirects`,
    `private_address`, `bad_url`, `dns_error`, `connection_error` (also a response that is cut
    short or is no HTTP), `tls_error`, `not_an_image`, `unsupported_image`, `empty_body`, or
    `robots_<directive>`: the last is the owner's wish, a decision to drop, all others are errors.
    """

    error: str
    detail: str  # for a person: the URL as listed, and the offending value
    status: int = 0  # of HTTP, 0 when it did not come to that
    dropped: bool = False


Sink = Callable[[int, Fetched | FetchFailure], None]


class Fetcher(Protocol):
    """Anything that fetches (index, url) pairs and calls `sink` once for each."""

    def __call__(self, requests: Iterable[tuple[int, str]], sink: Sink) -> None:
        """Fetch all of `requests`."""
        ...
