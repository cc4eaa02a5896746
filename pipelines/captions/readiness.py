"""Whether a server answers at all, asked by a real completion where there is doubt.

Not by `/health` or `/v1/models`: vLLM answers both with a dead engine (vllm issues 39863, 11996).
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay
from tenacity.wait import wait_base

from filters.captioner import EngineError
from pipelines.captions.server_errors import AttemptError, TooManyError, UnreachableError

DOUBTS: Final = 5  # attempts in a row that fail, after which the server is asked whether it lives


class Readiness:
    """Lets requests through while the server answers; used by the tasks of one event loop.

    Args:
        server: its name in errors.
        probe: asks the server for something short; raises AttemptError if no answer comes.
        wait: between probes.
        first_s: how long a server may take to answer for the first time.
        again_s: how long one that answered before may be away.
    """

    def __init__(
        self,
        server: str,
        probe: Callable[[], Awaitable[None]],
        *,
        wait: wait_base,
        first_s: float,
        again_s: float,
    ) -> None:
        self._server, self._probe, self._wait = server, probe, wait
        self._patience_s, self._again_s = first_s, again_s
        self._is_ready = False
        self._doubts = 0
        self._probing = asyncio.Lock()
        self._failures: list[str] = []

    async def wait(self) -> None:
        """Return when the server answers.

        Raises:
            EngineError: it does not.
        """
        if self._is_ready:
            return
        failures = len(self._failures)
        async with self._probing:
            if len(self._failures) > failures:  # while this request waited
                raise EngineError(self._failures[-1])
            if not self._is_ready:
                await self._note_failure(self._until_ready())
                self._is_ready, self._doubts, self._patience_s = True, 0, self._again_s

    async def _note_failure(self, probing: Awaitable[None]) -> None:
        try:
            await probing
        except EngineError as error:
            self._failures.append(str(error))
            raise

    def answered(self) -> None:
        """Note an answer, or a refusal, which is one too."""
        self._doubts = 0

    def doubt(self, error: AttemptError) -> None:
        """Note an attempt that failed."""
        if isinstance(error, TooManyError) and error.is_alive:
            return
        self._doubts += 1
        if self._doubts >= DOUBTS or isinstance(error, UnreachableError):
            self._is_ready = False

    async def _until_ready(self) -> None:
        tries = AsyncRetrying(
            retry=retry_if_exception_type(AttemptError),
            wait=self._wait,
            stop=stop_after_delay(self._patience_s),
            before_sleep=self._tell_once,
            reraise=True,
        )
        try:
            await tries(self._probe)
        except AttemptError as error:
            raise EngineError(
                f"caption: {self._server} answers nothing for {self._patience_s:g} s, not even a "
                f"short question: {error}; look at the server, then build again: what was answered "
                "is kept"
            ) from None

    def _tell_once(self, state: RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome is not None:
            print(
                f"caption: {self._server} does not answer: {state.outcome.exception()}; waiting up "
                f"to {self._patience_s:g} s for it",
                file=sys.stderr,
                flush=True,
            )
