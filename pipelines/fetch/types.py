"""The input and output types of fetchers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Protocol, get_args

from schemas.recipe import OptOutHeader


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """The limits of a shard's fetch on network, servers and memory.

    Peak memory is at most about `concurrency * max_bytes`, because only the bodies of running
    requests are in memory.

    Raises:
        ValueError: `concurrency` is below 1, or another number below 0.
    """

    concurrency: int = 64  # parallel requests per shard
    timeout_s: float = 20.0  # per attempt: name, connection, redirects, body
    max_bytes: int = 20_000_000  # of a body
    retries: int = 2  # further attempts, see `fetch_all`
    backoff_s: float = 0.5  # pause before the first retry, doubled for each later one
    # Longest Retry-After to wait for; a host that asks for more gets no further request.
    max_retry_after_s: float = 30.0
    max_redirects: int = 5
    max_per_host: int = 16  # parallel requests to one host, 0 for no limit
    min_delay_s: float = 0.0  # between the starts of two requests to one host
    # Requests in a row without a connection, or without an answer in time, after which a host is
    # given up; 0 for never.
    host_failures: int = 10
    allow_private_addresses: bool = False
    user_agent: str = "vargpt-corpus/0.1"
    opt_out_headers: tuple[str, ...] = get_args(OptOutHeader)  # those that bind
    robots_directives: tuple[str, ...] = ("noai", "noimageai", "noindex", "noimageindex")

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
    opt_outs: str  # headers of all hops that may state one, lines of `URL name: value`


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFailure:
    """The reason why a URL gave no image.

    `error` is one of `http_<status>`, `timeout`, `too_large`, `too_many_redirects`,
    `private_address`, `bad_url`, `dns_error`, `connection_error` (also a response that is cut
    short or is no HTTP), `tls_error`, `not_an_image`, `unsupported_image`, `empty_body`,
    `host_down` (not requested: its host gave no answer to others), `host_busy` (not requested: its
    host asked for a longer wait than is allowed); or an opt-out of the owner, by which the row is
    dropped: `robots_<directive>`, `tdm_reservation`, `content_usage`, `content_signal`.
    """

    error: str
    detail: str  # for a person: the URL as listed, and the offending value
    status: int = 0  # of HTTP, 0 without an answer
    dropped: bool = False


Sink = Callable[[int, Fetched | FetchFailure], None]


class Fetcher(Protocol):
    """Anything that fetches (index, url) pairs and calls `sink` once for each."""

    def __call__(self, requests: Iterable[tuple[int, str]], sink: Sink) -> None:
        """Fetch all of `requests`."""
        ...
