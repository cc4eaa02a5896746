"""Asks a server with OpenAI's API many questions at once; each answer is its own question's."""

import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

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
from pipelines.captions.loop_thread import LoopThread
from pipelines.captions.readiness import Readiness
from pipelines.captions.refusals import Refusals
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
        self._refusals = Refusals(url)
        self._failed_in_a_row = 0
        self._thread = LoopThread()

    def close(self) -> None:
        """Close the connections, and end the thread."""
        self._thread.start(self._connection.close()).result()
        self._thread.stop()

    def answers(self, requests: Iterable[Asked]) -> Iterator[Answer | Unanswered]:
        """Yield what comes of each request, as it comes; requests are taken as slots get free.

        Raises:
            EngineError: nothing can be answered.
        """
        outcomes = self._thread.results(self._answer, requests, self._effort.concurrency)
        yield from self._refusals.checked(map(self._counted, outcomes))

    def _counted(self, outcome: Answer | Unanswered) -> Answer | Unanswered:
        """Count requests without an answer.

        Raises:
            EngineError: there are too many in a row.
        """
        self._failed_in_a_row = 0 if isinstance(outcome, Answer) else self._failed_in_a_row + 1
        if isinstance(outcome, Unanswered) and self._failed_in_a_row >= HOPELESS:
            raise EngineError(
                f"caption: {self._connection.url} answered none of {HOPELESS} requests in a row; "
                f"the last: {outcome.detail}"
            )
        return outcome

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
