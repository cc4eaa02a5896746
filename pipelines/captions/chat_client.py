"""Asks a server with OpenAI's API many questions at once; each answer is its own question's."""

import asyncio
import queue
import re
import secrets
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeVar

import httpx2
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from filters.captioner import Answer, Asked, EngineError, Unanswered
from pipelines.captions.chat import Sampling, read_reply, refused, request_body, said
from pipelines.captions.connection import MOST_BYTES, REQUEST_ID, Connection
from pipelines.captions.readiness import Readiness
from pipelines.captions.server_errors import (
    AttemptError,
    BadReplyError,
    RefusedError,
    TooManyError,
    UnreachableError,
)
from pipelines.captions.throttle import Throttle

HOPELESS: Final = 32  # requests in a row without an answer, after which no more are tried
PROBE_PAUSE_S: Final = 5.0  # between two looks at whether a server answers, at most
ALL_REFUSED: Final = 10  # first requests, all refused, after which the server is not believed

T = TypeVar("T")

# Ids of requests, which some servers echo: vLLM as the id of the answer, gateways in a header.
_ID = re.compile(rb"caption-([0-9A-Za-z]+)-[0-9a-f]{8}")
_PROBE = Asked(digest="ready", prompt="Say OK.", image=b"", seed=0, max_new_tokens=16)
_TOKENS, _NEWER_TOKENS = "max_tokens", "max_completion_tokens"


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How hard a server is tried; it decides no answer."""

    concurrency: int  # requests in flight at once, at most
    timeout_s: float  # of a request
    attempts: int  # of a request
    first_pause_s: float = 0.5  # between attempts, at most; it doubles
    longest_pause_s: float = 30.0
    longest_retry_after_s: float = 120.0  # a server's wish for a longer pause is cut to this
    start_s: float = 120.0  # until a server answers for the first time
    away_s: float = 120.0  # that one that has answered may be away
    most_bytes: int = MOST_BYTES  # of a reply


class ChatClient:
    """A client of one server, with an event loop in a thread of its own.

    Args:
        url: of the API, to `/v1`.
        key_env: environment variable of the key.
        sampling: the model, and how it chooses words.
        effort: how hard the server is tried.
        check_alive: raises EngineError if the server is known to be dead.
    """

    def __init__(
        self,
        url: str,
        *,
        key_env: str,
        sampling: Sampling,
        effort: Effort,
        check_alive: Callable[[], None] | None = None,
    ) -> None:
        self._sampling, self._effort, self._check_alive = sampling, effort, check_alive
        self._pause = wait_random_exponential(
            multiplier=effort.first_pause_s, max=effort.longest_pause_s
        )
        self._connection = Connection(
            url,
            key_env=key_env,
            timeout_s=effort.timeout_s,
            connections=effort.concurrency,
            most_bytes=effort.most_bytes,
        )
        self._throttle = Throttle(effort.concurrency, effort.longest_retry_after_s)
        self._readiness = Readiness(
            url,
            self._probe,
            wait=wait_random_exponential(
                multiplier=effort.first_pause_s, max=min(effort.longest_pause_s, PROBE_PAUSE_S)
            ),
            first_s=effort.start_s,
            again_s=effort.away_s,
        )
        self._limit_key = _TOKENS
        self._has_answered = False
        self._failed_in_a_row = 0
        self._loop = _running_loop()
        self._stop_loop = weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)

    def close(self) -> None:
        """Close the connections, and end the thread."""
        self._start(self._connection.close()).result()
        self._stop_loop()

    def answers(self, requests: Iterable[Asked]) -> Iterator[Answer | Unanswered]:
        """Yield what comes of each request, as it comes; requests are taken as slots get free.

        Refusals wait until something is answered: a server that refuses everything, because its
        model reads no images for instance, says nothing of these requests.

        Raises:
            EngineError: nothing can be answered.
        """
        held: list[Answer] = []
        for outcome in self._outcomes(requests):
            self._count(outcome, len(held))
            if isinstance(outcome, Answer) and not self._has_answered:
                held.append(outcome)
                continue
            yield from held
            held.clear()
            yield outcome
        yield from held

    def _count(self, outcome: Answer | Unanswered, held: int) -> None:
        """Note an outcome.

        Raises:
            EngineError: it is one too many of its kind.
        """
        if isinstance(outcome, Unanswered):
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= HOPELESS:
                raise EngineError(
                    f"caption: the last {HOPELESS} requests to {self._connection.url} were not "
                    f"answered, though a short question is: {outcome.detail}"
                )
            return
        self._failed_in_a_row = 0
        self._has_answered |= outcome.status == "answered"
        if not self._has_answered and held + 1 >= ALL_REFUSED:
            raise EngineError(
                f"caption: {self._connection.url} refuses all requests; its model may read no "
                f"images: {outcome.detail}"
            )

    def _outcomes(self, requests: Iterable[Asked]) -> Iterator[Answer | Unanswered]:
        waiting = iter(requests)
        ended: queue.SimpleQueue[Future[Answer | Unanswered]] = queue.SimpleQueue()
        running: set[Future[Answer | Unanswered]] = set()
        try:
            while True:
                for asked in islice(waiting, self._effort.concurrency - len(running)):
                    future = self._start(self._answer(asked))
                    running.add(future)
                    future.add_done_callback(ended.put)
                if not running:
                    return
                future = ended.get()
                running.remove(future)
                if isinstance(future.exception(), EngineError):
                    yield from _answered(ended)
                yield future.result()
        finally:
            for future in running:
                future.cancel()

    def _start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def _answer(self, asked: Asked) -> Answer | Unanswered:
        """Ask until there is an answer, or there were as many attempts as allowed."""
        tries = AsyncRetrying(
            retry=retry_if_exception_type(AttemptError),
            wait=self._pause,
            stop=stop_after_attempt(self._effort.attempts),
            reraise=True,
        )
        try:
            return await tries(self._attempt, asked)
        except AttemptError as error:
            detail = f"{self._effort.attempts} attempts, the last: {error}"
            return Unanswered(digest=asked.digest, detail=detail)

    async def _attempt(self, asked: Asked) -> Answer:
        while True:
            await self._readiness.wait()
            try:
                return await self._attempt_once(asked)
            except UnreachableError:  # the request was not sent, so this was no attempt
                continue

    async def _attempt_once(self, asked: Asked) -> Answer:
        try:
            answer = await self._ask(asked)
        except AttemptError as error:
            self._readiness.doubt(error)
            raise
        except RefusedError as error:
            answer = refused(asked.digest, error.status, error.body)
        self._readiness.answered()
        return answer

    async def _probe(self) -> None:
        """Ask something short.

        Raises:
            AttemptError: there is no answer.
            EngineError: there will be none.
        """
        if self._check_alive is not None:
            self._check_alive()
        try:
            await self._ask(_PROBE)
        except TooManyError as error:
            if not error.is_alive:
                raise
        except RefusedError as error:
            if _NEWER_TOKENS.encode() in error.body and self._limit_key == _TOKENS:
                self._limit_key = _NEWER_TOKENS
                return await self._probe()
            raise EngineError(
                f"caption: {self._connection.url} refuses even a short question: {error.status}: "
                f"{said(error.body)}; check `model`, `temperature` and `top_p`"
            ) from None

    async def _ask(self, asked: Asked) -> Answer:
        """Ask once, in a slot."""
        async with self._throttle.slot() as since:
            body = request_body(asked, self._sampling, self._limit_key)
            request_id = f"caption-{asked.digest}-{secrets.token_hex(4)}"
            try:
                response = await self._connection.send(body, request_id)
            except TooManyError as error:
                self._throttle.too_many(since, error.retry_after_s)
                raise
            self._throttle.answered()
        _check_echo(asked.digest, response)
        return read_reply(asked.digest, response.content)


def _check_echo(digest: str, response: httpx2.Response) -> None:
    """Check that a reply, if it names a request of ours, names the one that it came to.

    The random end of an id is not compared: it is another in each attempt.
    """
    named = _ID.findall(response.headers.get(REQUEST_ID, "").encode() + b" " + response.content)
    if others := {each.decode() for each in named} - {digest}:
        raise BadReplyError(f"the reply is to another request: {min(others)}, not {digest}")


def _answered(ended: queue.SimpleQueue[Future[Any]]) -> Iterator[Any]:
    """Yield the results that wait; errors among them are left out."""
    while not ended.empty():
        future = ended.get()
        if future.exception() is None:
            yield future.result()


def _running_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop that runs in a thread of its own, until it is stopped."""
    loop = asyncio.new_event_loop()

    def run() -> None:
        try:
            loop.run_forever()
        finally:
            loop.close()

    threading.Thread(target=run, name="captions", daemon=True).start()
    return loop
