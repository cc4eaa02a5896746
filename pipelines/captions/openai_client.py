"""The engine `openai`: a server with OpenAI's API that somebody else runs."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from filters.captioner import Answer, Asked, EngineError, Unanswered
from pipelines.captions.chat import Sampling
from schemas.caption_config import OpenAiEngine, VllmEngine

if TYPE_CHECKING:
    from pipelines.captions.chat_client import ChatClient

MISSING: Final = "caption: a server needs the package openai: pip install 'vargpt-corpus[captions]'"

_opening = threading.Lock()


class OpenAiCaptioner:
    """Asks a server, by one client a process.

    Args:
        config: of the recipe.
        effort: fields of `pipelines.captions.chat_client.Effort` that the recipe does not set.
    """

    def __init__(self, config: OpenAiEngine, **effort: Any) -> None:
        self._config, self._effort = config, effort
        self._client: ChatClient | None = None

    def identity(self) -> Mapping[str, Any]:
        """Return what decides the answers beside the request."""
        return self._config.model_dump(include={"engine", "model", "temperature", "top_p"})

    def answers(self, requests: Iterable[Asked]) -> Iterator[Answer | Unanswered]:
        """Yield one answer for each request, in any order, as they come."""
        return self._opened().answers(requests)

    def close(self) -> None:
        """Close the connections; the next request opens others."""
        with _opening:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _opened(self) -> "ChatClient":
        with _opening:
            if self._client is None:
                config = self._config
                self._client = open_client(
                    config, config.url, model=config.model, key_env=config.key_env, **self._effort
                )
            return self._client


def open_client(
    config: OpenAiEngine | VllmEngine,
    url: str,
    *,
    model: str,
    key_env: str = "",
    check_alive: Callable[[], None] | None = None,
    **effort: Any,
) -> "ChatClient":
    """Open a client of a server.

    Args:
        config: of the recipe.
        url: of the server, to `/v1`.
        model: as the server calls it.
        key_env: environment variable of the server's key; '' for none.
        check_alive: raises EngineError if the server is known to be dead.
        effort: fields of Effort that the recipe does not set.

    Raises:
        EngineError: the package `openai` is missing, or the key cannot be used.
    """
    try:
        from pipelines.captions.chat_client import ChatClient, Effort
    except ModuleNotFoundError as error:
        raise EngineError(MISSING) from error
    settings: dict[str, Any] = {
        "concurrency": config.concurrency,
        "timeout_s": config.timeout_s,
        "attempts": config.attempts,
        **effort,
    }
    return ChatClient(
        url,
        key_env=key_env,
        sampling=Sampling(model=model, temperature=config.temperature, top_p=config.top_p),
        effort=Effort(**settings),
        check_alive=check_alive,
    )
