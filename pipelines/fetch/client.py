"""One request over HTTP: its limits, and a name for every error.

`addresses` checks addresses, and `responses` reads headers. A URL is requested byte for byte as
listed (`urls`).
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import socket
from dataclasses import dataclass

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
from pipelines.fetch.consent import as_lines, binding_opt_out, opt_out_headers
from pipelines.fetch.content_encoding import TooLargeError, named_encodings, undone
from pipelines.fetch.hosts import Visit
from pipelines.fetch.resolver import CheckedResolver
from pipelines.fetch.responses import retry_after_s, storable
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


class AttemptFailedError(Exception):
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
        unreachable: bool = False,
    ) -> None:
        super().__init__(detail)
        self.error, self.detail, self.status, self.dropped = error, detail, status, dropped
        self.retry = retry
        self.retry_after_s = retry_after_s
        self.unreachable = unreachable  # the host: no connection, or no answer in time

    @property
    def asks_for_patience(self) -> bool:
        """Whether the server has too many requests, which is true of the whole host."""
        return self.status in (429, 503)

    def failure(self, visit: Visit) -> FetchFailure:
        """Return the failure with the URL as listed, and the target of redirects."""
        url, requested = visit.listed, visit.requested
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
    """Makes single requests through the open session of one shard."""

    session: aiohttp.ClientSession
    limits: FetchLimits

    async def request(self, visit: Visit) -> Fetched | URL:
        """Make the next request of a URL; return the image, or the target of a redirect.

        It takes the time of the request from `visit.left_s`.

        Raises:
            AttemptFailedError: there is no image; errors of the network too.
        """
        clock = asyncio.get_running_loop()
        started = clock.time()
        try:
            async with asyncio.timeout(visit.left_s):
                return await self._request(visit)
        except TimeoutError:
            detail = f"not complete after {self.limits.timeout_s} s"
            raise AttemptFailedError("timeout", detail, unreachable=True) from None
        except PrivateAddressError as error:
            raise AttemptFailedError("private_address", str(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _connection_failure(error) from error
        finally:
            visit.left_s -= clock.time() - started

    async def _request(self, visit: Visit) -> Fetched | URL:
        url = visit.requested[-1]
        try:  # each target of a redirect passes the same checks as the first URL
            refuse_literal(url, allow_private=self.limits.allow_private_addresses)
        except ValueError as error:
            raise AttemptFailedError("bad_url", str(error)) from error
        async with self.session.get(url, allow_redirects=False) as response:
            if response.status != 200 and not _is_redirect(response):
                raise _status_failure(response)
            if sent := opt_out_headers(response.headers.items()):
                self.refuse_opted_out(sent, response.status)
                visit.opt_outs.append(as_lines(str(url), sent))
            if _is_redirect(response):
                return _redirect_target(response)
            return await self.receive(response, visit.opt_outs)

    async def receive(self, response: aiohttp.ClientResponse, opt_outs: list[str]) -> Fetched:
        """Read the body, check the body."""
        body = self.image(response, await self.read(response))
        return Fetched(
            body=body,
            final_url=str(response.url),
            status=response.status,
            content_type=storable(response.headers.get("Content-Type", "")),
            opt_outs=storable("\n".join(opt_outs)),
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
                raise AttemptFailedError("too_large", str(error), status=200) from error
            except ValueError as error:
                why = f", {error}"
            else:
                body, found = plain, file_format(plain)
        if not body:
            raise AttemptFailedError("empty_body", "no body", status=200)
        if found is None or not found.read:
            error = not_read(found, body)
            declared = f", declared as {content_type!r}" if content_type else ""
            detail = error.detail + declared + why
            raise AttemptFailedError(error.reason, detail, status=200)
        return body

    def refuse_opted_out(self, sent: list[tuple[str, str]], status: int) -> None:
        """Refuse an image whose owner opted out, before a body is read or a redirect followed.

        Answers with other statuses say nothing of the image, so they are not asked.
        """
        found = binding_opt_out(
            sent,
            respected=self.limits.opt_out_headers,
            directives=self.limits.robots_directives,
            user_agent=self.limits.user_agent,
        )
        if found is not None:
            detail = f"sent with {found}"
            raise AttemptFailedError(found.reason, detail, status=status, dropped=True)

    async def read(self, response: aiohttp.ClientResponse) -> bytes:
        """Read a body of up to `max_bytes` bytes, and stop after the first block above it."""
        limit = self.limits.max_bytes
        if (response.content_length or 0) > limit:
            detail = f"Content-Length {response.content_length:,}, over {limit:,} bytes"
            raise AttemptFailedError("too_large", detail, status=200)
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_any():
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                detail = f"the body is over {limit:,} bytes"
                raise AttemptFailedError("too_large", detail, status=200)
        return b"".join(chunks)


def _is_redirect(response: aiohttp.ClientResponse) -> bool:
    return response.status in _REDIRECTS and "Location" in response.headers


def _redirect_target(response: aiohttp.ClientResponse) -> URL:
    """Return the target of a redirect, byte for byte as sent, even if it is not UTF-8."""
    location = response.headers["Location"]
    parts = split_url(location.strip())
    sendable = parts._replace(path=quoted(parts.path), query=quoted(parts.query))
    target = join_url(str(response.url), str(sendable))
    if (reason := check_url(target)) is not None:
        detail = f"redirects to {location!r}: {reason}"
        raise AttemptFailedError("bad_url", detail, status=response.status)
    return wire_url(parse_url(target), target)


def _status_failure(response: aiohttp.ClientResponse) -> AttemptFailedError:
    return AttemptFailedError(
        f"http_{response.status}",
        f"answered {response.status}",
        status=response.status,
        retry=response.status == 429 or response.status >= 500,
        retry_after_s=retry_after_s(response.headers),
    )


def backoff_s(visit: Visit, limits: FetchLimits) -> float:
    """Return the pause before the next attempt, with +-50 % jitter from a hash of the URL."""
    digest = hashlib.blake2b(f"{visit.attempt} {visit.listed}".encode(), digest_size=4).digest()
    jitter = 0.5 + int.from_bytes(digest, "big") / 2**32
    return limits.backoff_s * 2**visit.attempt * jitter


def _connection_failure(error: aiohttp.ClientError | OSError) -> AttemptFailedError:
    """Return the failure of a connection; raise `error` itself if this machine is at fault."""
    if isinstance(error, OSError) and error.errno in _OUR_SHORTAGE:
        raise error
    message = error.message if isinstance(error, aiohttp.ClientResponseError) else error
    detail = f"{type(error).__name__}: {message}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        no_server = error.errno == socket.EAI_AGAIN
        return AttemptFailedError("dns_error", detail, retry=no_server, unreachable=no_server)
    if isinstance(error, aiohttp.ClientSSLError):
        return AttemptFailedError("tls_error", detail)
    if isinstance(error, aiohttp.InvalidURL):
        return AttemptFailedError("bad_url", detail)
    if isinstance(error, aiohttp.ClientResponseError):  # no HTTP: it would be none again
        return AttemptFailedError("connection_error", detail)
    no_connection = isinstance(error, aiohttp.ClientConnectorError)
    return AttemptFailedError("connection_error", detail, retry=True, unreachable=no_connection)
