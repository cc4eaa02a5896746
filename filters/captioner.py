"""Caption engines: what a model is asked about an image, and what it answers."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from schemas.store.errors import UserError

FinishReason = Literal["stop", "length", "content_filter", "other", ""]
"""Why a model stopped: done; cut off; refused by the server's filter; another; never began."""


class EngineError(UserError):
    """An engine that cannot answer at all: no model, no server, no key. It stops the build."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request. It decides the answer, so `digest` is the name of that."""

    digest: str  # hash of engine, settings, prompt, schema, seed and image; unique in a batch
    prompt: str
    image: bytes  # JPEG at the engine's size; b"" for a question about texts alone
    seed: int  # of sampling; from the row's key, not from its place
    max_new_tokens: int
    schema: Mapping[str, Any] | None = None  # JSON schema that the answer must follow
    style: str = ""  # of the recipe, for errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of one request. A refused request is an answer too: it would be refused again."""

    digest: str  # of the request
    status: Literal["answered", "refused"]  # refused: by the server, for good
    text: str = ""  # as the model wrote it
    finish_reason: FinishReason = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    model: str = ""  # as the engine calls what answered
    detail: str = ""  # why it was refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """A request that met a passing trouble each time; it may be answered another day."""

    digest: str
    detail: str


class CaptionEngine(Protocol):
    """Answers requests; an answer depends on its own request alone, not on its batch.

    An engine is made from its section of the recipe alone, and loads its model or opens its
    connections when it is first asked, once a process.
    """

    def identity(self) -> Mapping[str, Any]:
        """Return what decides the answers beside the request, as JSON values.

        The kind of engine, the model and the sha256 of its weights where they are known, and the
        settings of sampling. No path, no URL, no device, no secret.
        """
        ...

    def answers(self, requests: Iterable[Asked]) -> Iterator[Answer | Unanswered]:
        """Yield one answer for each request, in any order, as they come.

        Requests are taken as they are needed: their images are prepared ahead in other threads.

        Raises:
            EngineError: nothing can be answered. Answers yielded before stay good.
        """
        ...
