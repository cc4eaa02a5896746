"""The engine `vllm`: a vLLM server that a worker starts, and the processes of its machine share.

Processes that see other GPUs (CUDA_VISIBLE_DEVICES) have a server of their own.
"""

import os
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from filters.captioner import Answer, Asked, EngineError, Unanswered
from filters.captions.model_pin import model_sha256
from pipelines.captions.openai_client import open_client
from pipelines.captions.shared_server import SharedServer, server_folder
from schemas.caption_config import VllmEngine

if TYPE_CHECKING:
    from pipelines.captions.chat_client import ChatClient

PROGRAM: Final = "vllm"

_opening = threading.Lock()


class VllmCaptioner:
    """Asks the vLLM server of this machine, by one client a process.

    Args:
        config: of the recipe.
        effort: fields of `pipelines.captions.chat_client.Effort` that the recipe does not set.
    """

    def __init__(self, config: VllmEngine, **effort: Any) -> None:
        self._config, self._effort = config, effort
        self._opened: tuple[SharedServer, ChatClient] | None = None

    def identity(self) -> Mapping[str, Any]:
        """Return what decides the answers beside the request; of a folder, its sha256.

        Raises:
            EngineError: the folder is not there.
        """
        settings = self._config.model_dump(
            mode="json", include={"engine", "revision", "arguments", "temperature", "top_p"}
        )
        return {**settings, "model": self._pinned.model_sha256 or self._config.model}

    def answers(self, requests: Iterable[Asked]) -> Iterator[Answer | Unanswered]:
        """Yield one answer for each request, in any order, as they come.

        Raises:
            EngineError: the server cannot answer. If it has ended, the next call starts another.
        """
        server, client = self._open()
        try:
            yield from client.answers(requests)
        except EngineError:
            if not server.is_alive():
                self._forget(server)
            raise

    def close(self) -> None:
        """Use the server no longer; it ends, and frees its GPU, when nobody does."""
        if self._opened is not None:
            server, client = self._opened
            client.close()
            self._forget(server)

    @cached_property
    def _pinned(self) -> VllmEngine:
        """The settings with the sha256 of the folder, which is only read if they have none."""
        return self._config if self._config.model_sha256 else _with_sha256(self._config)

    def _forget(self, server: SharedServer) -> None:
        with _opening:
            if self._opened is not None and self._opened[0] is server:
                self._opened = None
        server.close()

    def _open(self) -> "tuple[SharedServer, ChatClient]":
        with _opening:
            if self._opened is None:
                server = self._server()
                self._opened = server, self._client_of(server)
            return self._opened

    def _server(self) -> SharedServer:
        config, program = self._pinned, vllm_program()
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
        return SharedServer(
            server_folder(*vllm_command(program, config, 0), gpus),
            lambda port: vllm_command(program, _with_sha256(config), port),
        )

    def _client_of(self, server: SharedServer) -> "ChatClient":
        return open_client(
            self._config,
            f"http://127.0.0.1:{server.port}/v1",
            model=_served_name(self._pinned),
            check_alive=server.check_alive,
            **{"start_s": self._config.start_s, **self._effort},
        )


def vllm_program() -> str:
    """Return the path of vLLM's program, beside Python's or in PATH.

    Raises:
        EngineError: it is not installed.
    """
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    program = shutil.which(PROGRAM, path=places)
    if program is None:
        raise EngineError(
            "caption: the engine vllm needs the program vllm on workers: pip install vllm"
        )
    return program


def vllm_command(program: str, config: VllmEngine, port: int) -> list[str]:
    """Return the command that starts vLLM on a port of this machine, open to this machine alone."""
    named = ("--served-model-name", _served_name(config))
    address = ("--host", "127.0.0.1", "--port", str(port))
    revision = ("--revision", config.revision) if config.revision else ()
    given = (*revision, *config.arguments, *config.effort_arguments)
    return [program, "serve", config.model, *address, *named, *given]


def _with_sha256(config: VllmEngine) -> VllmEngine:
    """Return settings with the sha256 of the folder's files, after a check of one that is given."""
    return config.model_copy(update={"model_sha256": model_sha256(config)})


def _served_name(config: VllmEngine) -> str:
    """Return the name of a model in answers: of a folder its sha256, wherever it lies."""
    return f"sha256:{config.model_sha256[:16]}" if config.model_sha256 else config.model
