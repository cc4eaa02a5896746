"""One connection to a server with OpenAI's API, by the `openai` package.

The key is read from the environment here, and is nowhere else: no object shows it in its repr, and
it is cut out of what the server says.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx2
import openai

from filters.captioner import EngineError
from pipelines.captions.chat import PATH, REFUSES, error_code, said
from pipelines.captions.server_errors import (
    AttemptError,
    RefusedError,
    TooManyError,
    UnreachableError,
)
from pipelines.fetch.addresses import check_url
from pipelines.fetch.responses import retry_after_s

REQUEST_ID: Final = "X-Request-ID"
MOST_BYTES: Final = 4 << 20  # of a reply

_SHOWN_KEY: Final = "[key]"
_RETRIED: Final = (408, 409, 425, 429)  # and 5xx
_NO_MONEY: Final = "insufficient_quota"  # OpenAI's code of a 429 that does not pass


class Connection:
    """A server, reached by one asynchronous client; used in one event loop.

    Args:
        url: of the API, to `/v1`.
        key_env: environment variable of the key, '' for none; a server may need none.
        timeout_s: of a request, from the first byte sent to the last received.
        connections: kept open between requests.
        most_bytes: of a reply.
    """

    def __init__(
        self,
        url: str,
        *,
        key_env: str,
        timeout_s: float,
        connections: int,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        if why := check_url(url):
            raise EngineError(f"caption: the server's url cannot be used: {why}")
        self.url, self._key_env, self._timeout_s = url, key_env, timeout_s
        self._key = _key(key_env)
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=connections)
        self._headers = {} if self._key else {"Authorization": openai.Omit()}
        self._client = openai.AsyncOpenAI(
            base_url=url,
            api_key=self._key or "none",
            admin_api_key="",
            max_retries=0,
            timeout=timeout_s,
            # Redirects are not followed: the key is for the host of the recipe alone.
            http_client=openai.DefaultAsyncHttpxClient(
                transport=_BoundedTransport(limits, most_bytes),
                follow_redirects=False,
                trust_env=False,
                headers={"Accept-Encoding": "identity"},
            ),
        )

    async def send(self, body: dict[str, Any], request_id: str) -> httpx2.Response:
        """Send a request once; return the response, with status 200.

        Raises:
            RefusedError: this request is refused for good.
            AttemptError: it may be answered another time.
            EngineError: no request can be answered.
        """
        options: Any = {"headers": {REQUEST_ID: request_id, **self._headers}}
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._client.post(
                    PATH, body=body, cast_to=httpx2.Response, options=options
                )
        except (TimeoutError, openai.APITimeoutError):
            raise AttemptError(f"no answer within {self._timeout_s:g} s") from None
        except openai.APIStatusError as error:
            raise self._status_error(error.response) from None
        except openai.APIConnectionError as error:
            raise self._connection_error(error) from None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _status_error(self, response: httpx2.Response) -> Exception:
        status, body = response.status_code, self._without_key(response.content)
        detail = f"{status}: {said(body)}"
        if status in REFUSES:
            return RefusedError(status, body)
        if error_code(body) == _NO_MONEY:
            return EngineError(f"caption: {self.url} answers {detail}; the account has no quota")
        if status in (429, 503):
            return TooManyError(detail, retry_after_s(response.headers), is_alive=status == 429)
        if status in _RETRIED or status >= 500:
            return AttemptError(detail)
        return EngineError(
            f"caption: {self.url} answers {detail}; {self._remedy(status, response)}"
        )

    def _remedy(self, status: int, response: httpx2.Response) -> str:
        if status in (401, 403):
            held = "refuses the key in" if self._key else "wants a key, and there is none in"
            return f"it {held} the environment variable {self._key_env} of the workers"
        if status == 404:
            return "check `model` (as the server calls it) and `url` (to /v1)"
        if 300 <= status < 400:
            to = self._without_key(response.headers.get("Location", "").encode()).decode()
            return f"redirects are not followed; set `url` to the place itself: {to[:200]!r}"
        return "check `url` (to /v1), and what the server's account allows"

    def _connection_error(self, error: openai.APIConnectionError) -> AttemptError:
        cause = error.__cause__ or error
        said_ = self._without_key(str(cause).encode()).decode()
        detail = f"{type(cause).__name__}: {said_}"
        if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout):
            return UnreachableError(detail)
        return AttemptError(detail)

    def _without_key(self, body: bytes) -> bytes:
        return body.replace(self._key.encode(), _SHOWN_KEY.encode()) if self._key else body


class _BoundedTransport(httpx2.AsyncHTTPTransport):
    """A transport whose responses end in an error after so many bytes."""

    def __init__(self, limits: httpx2.Limits, most_bytes: int) -> None:
        super().__init__(limits=limits, trust_env=False)
        self._most_bytes = most_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        coding = response.headers.get("Content-Encoding", "identity")
        if coding != "identity":  # it was not asked for, and could unpack to any size
            await response.aclose()
            raise httpx2.DecodingError(f"the reply is compressed as {coding[:40]!r}")
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _BoundedStream(response.stream, self._most_bytes)
        return response


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, most_bytes: int) -> None:
        self._stream, self._most_bytes = stream, most_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > self._most_bytes:
                raise httpx2.DecodingError(f"the reply is over {self._most_bytes:,} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip() if variable else ""
    if not (key.isascii() and key.isprintable()):
        raise EngineError(
            f"caption: the environment variable {variable} holds no key: it has characters that "
            "no HTTP header can have"
        )
    return key
