"""Fetching of one URL over HTTP: redirects, limits, retries, and a name for every error.

`addresses` checks addresses, and `responses` reads headers. A URL is requested byte for byte as
listed (`urls`).
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

from filters.decode import not_read
from filters.formats import file_format
from pipelines.fetch.addresses import (
    PrivateAddressError,
    check_url,
    parse_url,
    refuse_literal,
)
from pipelines.fetch.content_encoding import TooLargeError, named_encodings, undone
from pipelines.fetch.resolver import CheckedResolver
from pipelines.fetch.responses import forbidding_directive, retry_after_s, storable
from pipelines.fetch.types import Fetched, FetchFailure, FetchLimits
from pipelines.fetch.urls import join_url, quoted, split_url, wire_url

_REDIRECTS = (301, 302, 303, 307, 308)
# Idle connections are kept this short so that a crawl over many hosts does not use up its
# file descriptors (64 in flight at 200 images/s keep some 400 open).
_KEEP_ALIVE_S = 2.0
# If this machine has no descriptors or memory left, every URL would fail; no URL is at fault.
_OUR_SHORTAGE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def open_session(limits: FetchLimits) -> aiohttp.ClientSession:
    """Open a session without cookies and proxies that connects only as `limits` allow."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0,  # the number of running tasks is the limit
            resolver=CheckedResolver(
                aiohttp.ThreadedResolver(), allow_private=limits.allow_private_addresses
            ),
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
    """The failure of one attempt, and whether and when to retry."""

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
        super().__init__(detail)
        self.error, self.detail, self.status, self.dropped = error, detail, status, dropped
        self.retry = retry
        self.retry_after_s = retry_after_s

    def failure(self, url: str, requested: list[URL]) -> FetchFailure:
        """Return the failure with the URL as listed, and the target of redirects."""
        listed = url if url.isprintable() else repr(url)
        led = f"redirected to {requested[-1]}: " if len(requested) > 1 else ""
        return FetchFailure(
            error=self.error,
            detail=storable(f"{listed}: {led}{self.detail}"),
            status=self.status,
            dropped=self.dropped,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpClient:
    """Fetches single URLs through the open session of one shard."""

    session: aiohttp.ClientSession
    limits: FetchLimits
    gates: dict[str, asyncio.Semaphore] = field(default_factory=dict)  # by host

    async def fetch(self, url: str, attempt: int = 0) -> Fetched | FetchFailure:
        """Fetch one URL, with retries from the given attempt on.

        Without tenacity, because the server decides the pause and the last failure is a result.
        """
        requested: list[URL] = []
        try:
            return await self.attempt(url, requested)
        except _AttemptFailed as failed:
            if not failed.retry or attempt == self.limits.retries:
                return failed.failure(url, requested)
            pause_s = _pause_s(url, attempt, failed.retry_after_s, self.limits)
        await asyncio.sleep(pause_s)
        return await self.fetch(url, attempt + 1)

    async def attempt(self, url: str, requested: list[URL]) -> Fetched:
        """Try once; errors of the network become `_AttemptFailed`.

        Each requested URL is appended to `requested`.
        """
        if (reason := check_url(url)) is not None:
            raise _AttemptFailed("bad_url", reason)
        first = wire_url(parse_url(url), url)
        # The time limit does not include the wait for other requests to the same host.
        async with self.gate(first):
            try:
                async with asyncio.timeout(self.limits.timeout_s):
                    return await self.follow(first, requested)
            except TimeoutError:
                detail = f"not complete after {self.limits.timeout_s} s"
                raise _AttemptFailed("timeout", detail) from None
            except PrivateAddressError as error:
                raise _AttemptFailed("private_address", str(error)) from error
            except (aiohttp.ClientError, OSError) as error:
                raise _connection_failure(error) from error

    def gate(self, url: URL) -> contextlib.AbstractAsyncContextManager[None]:
        """Return the context that limits parallel requests to the host of `url`."""
        if not self.limits.max_per_host:
            return contextlib.nullcontext()
        return self.gates.setdefault(
            url.raw_host or "", asyncio.Semaphore(self.limits.max_per_host)
        )

    async def follow(self, url: URL, requested: list[URL]) -> Fetched:
        """Follow redirects; each target passes the same checks as the first URL."""
        for _ in range(self.limits.max_redirects + 1):
            requested.append(url)
            try:
                refuse_literal(url, allow_private=self.limits.allow_private_addresses)
            except ValueError as error:
                raise _AttemptFailed("bad_url", str(error)) from error
            async with self.session.get(url, allow_redirects=False) as response:
                target = _redirect_target(response)
                if target is None:
                    return await self.receive(response)
            url = target
        raise _AttemptFailed("too_many_redirects", f"over {self.limits.max_redirects} redirects")

    async def receive(self, response: aiohttp.ClientResponse) -> Fetched:
        """Check the headers, read the body, check the body."""
        if response.status != 200:
            raise _status_failure(response)
        tags = response.headers.getall("X-Robots-Tag", [])
        self.refuse_by_robots(tags)
        body = self.image(response, await self.read(response))
        return Fetched(
            body=body,
            final_url=str(response.url),
            status=response.status,
            content_type=storable(response.headers.get("Content-Type", "")),
            robots=storable(", ".join(tags)),
        )

    def image(self, response: aiohttp.ClientResponse, body: bytes) -> bytes:
        """Return the image in a body, decompressed if necessary; Content-Type is not trusted.

        Compression is never requested, but some servers send compressed files anyway.
        """
        found = file_format(body)
        encodings = named_encodings(response.headers.getall("Content-Encoding", []))
        content_type, why = response.headers.get("Content-Type", ""), ""
        if encodings and not (found and found.read):
            try:
                plain = undone(body, encodings, self.limits.max_bytes)
            except TooLargeError as error:
                raise _AttemptFailed("too_large", str(error), status=200) from error
            except ValueError as error:
                why = f", {error}"
            else:
                body, found = plain, file_format(plain)
        if not body:
            raise _AttemptFailed("empty_body", "no body", status=200)
        if found is None or not found.read:
            error = not_read(found, body)
            declared = f", declared as {content_type!r}" if content_type else ""
            detail = error.detail + declared + why
            raise _AttemptFailed(error.reason, detail, status=200)
        return body

    def refuse_by_robots(self, tags: list[str]) -> None:
        """Refuse an image whose owner opted out, before the body is read."""
        respected = self.limits.robots_directives
        directive = forbidding_directive(tags, respected, self.limits.user_agent)
        if directive is not None:
            detail = f"sent with X-Robots-Tag {', '.join(tags)!r}"
            raise _AttemptFailed(f"robots_{directive}", detail, status=200, dropped=True)

    async def read(self, response: aiohttp.ClientResponse) -> bytes:
        """Read a body of up to `max_bytes` bytes, and stop after the first block above it."""
        limit = self.limits.max_bytes
        if (response.content_length or 0) > limit:
            detail = f"Content-Length {response.content_length:,}, over {limit:,} bytes"
            raise _AttemptFailed("too_large", detail, status=200)
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_any():
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                detail = f"the body is over {limit:,} bytes"
                raise _AttemptFailed("too_large", detail, status=200)
        return b"".join(chunks)


def _redirect_target(response: aiohttp.ClientResponse) -> URL | None:
    """Return the target of a redirect, byte for byte as sent, even if it is not UTF-8."""
    location = response.headers.get("Location")
    if response.status not in _REDIRECTS or location is None:
        return None
    parts = split_url(location.strip())
    sendable = parts._replace(path=quoted(parts.path), query=quoted(parts.query))
    target = join_url(str(response.url), str(sendable))
    if (reason := check_url(target)) is not None:
        detail = f"redirects to {location!r}: {reason}"
        raise _AttemptFailed("bad_url", detail, status=response.status)
    return wire_url(parse_url(target), target)


def _status_failure(response: aiohttp.ClientResponse) -> _AttemptFailed:
    return _AttemptFailed(
        f"http_{response.status}",
        f"answered {response.status}",
        status=response.status,
        retry=response.status == 429 or response.status >= 500,
        retry_after_s=retry_after_s(response.headers),
    )


def _pause_s(url: str, attempt: int, retry_after_s: float, limits: FetchLimits) -> float:
    """Return the back-off, with +-50 % jitter from a hash of the URL, or a longer Retry-After."""
    digest = hashlib.blake2b(f"{attempt} {url}".encode(), digest_size=4).digest()
    jitter = 0.5 + int.from_bytes(digest, "big") / 2**32
    backoff_s = limits.backoff_s * 2**attempt * jitter
    return max(backoff_s, min(retry_after_s, limits.max_retry_after_s))


def _connection_failure(error: aiohttp.ClientError | OSError) -> _AttemptFailed:
    """Return the failure of a connection; raise `error` itself if this machine is at fault."""
    if isinstance(error, OSError) and error.errno in _OUR_SHORTAGE:
        raise error
    message = error.message if isinstance(error, aiohttp.ClientResponseError) else error
    detail = f"{type(error).__name__}: {message}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return _AttemptFailed("dns_error", detail, retry=error.errno == socket.EAI_AGAIN)
    if isinstance(error, aiohttp.ClientSSLError):
        return _AttemptFailed("tls_error", detail)
    if isinstance(error, aiohttp.InvalidURL):
        return _AttemptFailed("bad_url", detail)
    return _AttemptFailed("connection_error", detail, retry=True)
