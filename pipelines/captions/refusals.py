"""A server's refusals, which are believed once it has answered something.

A server whose model reads no images refuses every row. That says nothing of the rows, and a refusal
is kept like an answer, so it must not be taken for one.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from filters.captioner import Answer, EngineError, Unanswered

ALL_REFUSED: Final = 10  # requests, after which a server that has answered none is not believed


class Refusals:
    """Holds refusals back until something is answered.

    Args:
        server: its name in errors.
        most: refusals before the first answer; `math.inf` if answers may come in any order.
    """

    def __init__(self, server: str, most: float = ALL_REFUSED) -> None:
        self._server, self._most = server, most
        self._has_answered = False
        self._count = 0

    def checked(self, outcomes: Iterable[Answer | Unanswered]) -> Iterator[Answer | Unanswered]:
        """Yield outcomes, refusals after the first answer; without one they are unanswered.

        Raises:
            EngineError: the server refuses all requests.
        """
        held: list[Answer] = []
        for outcome in outcomes:
            if isinstance(outcome, Answer) and outcome.status == "answered":
                self._has_answered = True
            if isinstance(outcome, Answer) and not self._has_answered:
                held.append(outcome)
                self._count += 1
                self._check(self._most, outcome)
                continue
            if self._has_answered:
                yield from held
                held.clear()
            yield outcome
        if held:
            self._check(ALL_REFUSED, held[-1])
        for one in held:
            detail = f"refused, and nothing was answered before: {one.detail}"
            yield Unanswered(digest=one.digest, detail=detail)

    def _check(self, most: float, last: Answer) -> None:
        if self._count >= most:
            raise EngineError(
                f"caption: {self._server} refuses all requests; its model may read no images: "
                f"{last.detail}"
            )
