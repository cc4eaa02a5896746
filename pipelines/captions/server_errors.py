"""What can go wrong with a request to a server of captions, in classes by what follows."""


class RefusedError(Exception):
    """The server refuses this request, and would again."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status}")
        self.status, self.body = status, body


class AttemptError(Exception):
    """One attempt failed; the next may not."""


class BadReplyError(AttemptError):
    """A reply with status 200 that holds no answer, or another request's."""


class TooManyError(AttemptError):
    """The server has too much to do.

    Args:
        detail: what it says.
        retry_after_s: how long it wants to be left alone; 0 if it does not say.
        is_alive: whether that shows that it works: a gateway says 503 for a dead server too.
    """

    def __init__(self, detail: str, retry_after_s: float, *, is_alive: bool) -> None:
        super().__init__(detail)
        self.retry_after_s, self.is_alive = retry_after_s, is_alive


class UnreachableError(AttemptError):
    """Nothing listens there."""
