"""One URL over HTTP: redirects, limits, retries, and a name for everything that can go wrong.

What may be connected to is judged in `addresses`; what an answer says, in `responses`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import socket
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

from pipelines.addresses import (
    CheckedResolver,
    PrivateAddressError,
    check_url,
    parse_url,
    refuse_literal,
)
from pipelines.fetch_types import Fetched, FetchFailure, FetchLimits
from pipelines.responses import forbidding_directive, image_format, retry_after_s, storable

_REDIRECTS = (301, 302, 303, 307, 308)
# Idle connections are kept this short so that a crawl over many hosts does not use up its
# file descriptors (64 in flight at 200 images/s keep some 400 open).
_KEEP_ALIVE_S = 2.0
# A machine out of descriptors or memory would fail every URL: that is not the URL's fault.
_OUR_SHORTAGE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def open_session(limits: FetchLimits) -> aiohttp.ClientSession:
    """Open a session that keeps no cookies, asks no proxy and connects as `limits` allow."""
    resolver = aiohttp.ThreadedResolver()
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0,  # the number of running tasks is the limit
            resolver=resolver if limits.allow_private_addresses else CheckedResolver(resolver),
            keepalive_timeout=_KEEP_ALIVE_S,
        ),
        headers={
            "User-Agent": limits.user_agent,
            "Accept": "image/*,*/*;q=0.5",
            "Accept-Encoding": "identity",
        },
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # `attempt` has its own
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )


class _AttemptFailed(Exception):
    """One attempt's failure, and whether and when another makes sense."""

    def __init__(
        self,
        error: str,
        detail: str,
        *,
        status: int = 0,
        dropped: bool = False,
        retry: bool = False,
        retry_after_s: float = 0.0,
    ) -> None:
        detail = storable(detail)
        super().__init__(detail)
        self.failure = FetchFailure(error=error, detail=detail, status=status, dropped=dropped)
        self.retry = retry
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpClient:
    """Fetches single URLs through the open session of one shard."""

    session: aiohttp.ClientSession
    limits: FetchLimits
    gates: dict[str, asyncio.Semaphore] = field(default_factory=dict)  # by host

    async def fetch(self, url: str, attempt: int = 0) -> Fetched | FetchFailure:
        """Fetch one URL, with retries from the given attempt on."""
        try:
            return await self.attempt(url)
        except _AttemptFailed as failed:
            if not failed.retry or attempt == self.limits.retries:
                return failed.failure
            pause_s = _pause_s(url, attempt, failed.retry_after_s, self.limits)
        await asyncio.sleep(pause_s)
        return await self.fetch(url, attempt + 1)

    async def attempt(self, url: str) -> Fetched:
        """Try once, turning what the outside world raises into `_AttemptFailed`."""
        if (reason := check_url(url)) is not None:
            raise _AttemptFailed("bad_url", reason)
        parsed = URL(url)
        # The wait for a turn is no fault of the server: it is outside the time limit.
        async with self.gate(parsed):
            try:
                async with asyncio.timeout(self.limits.timeout_s):
                    return await self.follow(parsed)
            except TimeoutError:
                detail = f"{url} was not complete after {self.limits.timeout_s} s"
                raise _AttemptFailed("timeout", detail) from None
            except PrivateAddressError as error:
                raise _AttemptFailed("private_address", str(error)) from error
            except (aiohttp.ClientError, OSError) as error:
                raise _connection_failure(url, error) from error

    def gate(self, url: URL) -> contextlib.AbstractAsyncContextManager[None]:
        """Return what limits the requests to the host of `url`."""
        if not self.limits.max_per_host:
            return contextlib.nullcontext()
        return self.gates.setdefault(
            url.raw_host or "", asyncio.Semaphore(self.limits.max_per_host)
        )

    async def follow(self, url: URL) -> Fetched:
        """Go from redirect to redirect; every hop passes the checks that the first one did."""
        for _ in range(self.limits.max_redirects + 1):
            try:
                refuse_literal(url, allow_private=self.limits.allow_private_addresses)
            except ValueError as error:
                raise _AttemptFailed("bad_url", str(error)) from error
            async with self.session.get(url, allow_redirects=False) as response:
                target = _redirect_target(response)
                if target is None:
                    return await self.receive(response)
            url = target
        detail = f"over {self.limits.max_redirects} redirects, the last to {url}"
        raise _AttemptFailed("too_many_redirects", detail)

    async def receive(self, response: aiohttp.ClientResponse) -> Fetched:
        """Judge the headers, read the body, judge the body."""
        if response.status != 200:
            raise _status_failure(response)
        tags = response.headers.getall("X-Robots-Tag", [])
        self.refuse_by_robots(response, tags)
        body = await self.read(response)
        if image_format(body) is None:
            raise _not_an_image(response, body)
        return Fetched(
            body=body,
            final_url=str(response.url),
            status=response.status,
            content_type=storable(response.headers.get("Content-Type", "")),
            robots=storable(", ".join(tags)),
        )

    def refuse_by_robots(self, response: aiohttp.ClientResponse, tags: list[str]) -> None:
        """Respect an opt-out before the body is read."""
        respected = self.limits.robots_directives
        directive = forbidding_directive(tags, respected, self.limits.user_agent)
        if directive is not None:
            detail = f"{response.url} is sent with X-Robots-Tag {', '.join(tags)!r}"
            raise _AttemptFailed(f"robots_{directive}", detail, status=200, dropped=True)

    async def read(self, response: aiohttp.ClientResponse) -> bytes:
        """Read a body of 1 to `max_bytes` bytes, and not a byte block more."""
        limit = self.limits.max_bytes
        if (response.content_length or 0) > limit:
            detail = f"Content-Length {response.content_length} of {response.url} is over {limit}"
            raise _AttemptFailed("too_large", detail, status=200)
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_any():
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                detail = f"the body of {response.url} is over {limit} bytes"
                raise _AttemptFailed("too_large", detail, status=200)
        if not size:
            raise _AttemptFailed("empty_body", f"{response.url} has no body", status=200)
        return b"".join(chunks)


def _redirect_target(response: aiohttp.ClientResponse) -> URL | None:
    location = response.headers.get("Location")
    if response.status not in _REDIRECTS or location is None:
        return None
    try:
        target = parse_url(location, response.url)
    except ValueError as error:
        raise _bad_redirect(response, f"cannot parse {location!r}: {error}") from error
    if (reason := check_url(str(target))) is not None:
        raise _bad_redirect(response, reason)
    return target


def _bad_redirect(response: aiohttp.ClientResponse, reason: str) -> _AttemptFailed:
    detail = f"{response.url} redirects: {reason}"
    return _AttemptFailed("bad_url", detail, status=response.status)


def _not_an_image(response: aiohttp.ClientResponse, body: bytes) -> _AttemptFailed:
    declared = response.headers.get("Content-Type", "")
    encoding = response.headers.get("Content-Encoding", "")
    detail = f"{response.url} starts with {body[:16]!r}, declared as {declared!r}"
    if encoding:
        detail += f" in content encoding {encoding!r}"
    return _AttemptFailed("not_an_image", detail, status=response.status)


def _status_failure(response: aiohttp.ClientResponse) -> _AttemptFailed:
    return _AttemptFailed(
        f"http_{response.status}",
        f"{response.url} answered {response.status}",
        status=response.status,
        retry=response.status == 429 or response.status >= 500,
        retry_after_s=retry_after_s(response.headers),
    )


def _pause_s(url: str, attempt: int, retry_after_s: float, limits: FetchLimits) -> float:
    """Return back-off with jitter of +-50 %, drawn from the URL, or the server's wish if longer."""
    digest = hashlib.blake2b(f"{attempt} {url}".encode(), digest_size=4).digest()
    jitter = 0.5 + int.from_bytes(digest, "big") / 2**32
    backoff_s = limits.backoff_s * 2**attempt * jitter
    return max(backoff_s, min(retry_after_s, limits.max_retry_after_s))


def _connection_failure(url: str, error: aiohttp.ClientError | OSError) -> _AttemptFailed:
    """Name what a connection died of; raise `error` itself when it is this machine's own."""
    if isinstance(error, OSError) and error.errno in _OUR_SHORTAGE:
        raise error
    detail = f"{url}: {type(error).__name__}: {error}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return _AttemptFailed("dns_error", detail, retry=error.errno == socket.EAI_AGAIN)
    if isinstance(error, aiohttp.ClientSSLError):
        return _AttemptFailed("tls_error", detail)
    if isinstance(error, aiohttp.InvalidURL):
        return _AttemptFailed("bad_url", detail)
    return _AttemptFailed("connection_error", detail, retry=True)
