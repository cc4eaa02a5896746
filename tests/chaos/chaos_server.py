"""The corpus server, that can go away in the middle of a crawl and come back on the same port."""

import socket
import threading
from contextlib import suppress
from typing import Any

from serve import FOLDER, CorpusServer


class _Server(CorpusServer):
    """Hangs up on everybody, for good, after `most` requests."""

    def __init__(self, port: int, most: int | None) -> None:
        super().__init__(FOLDER, port)
        self._most = most
        self._open: set[Any] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def count(self, path: str) -> int:
        if self._most is not None and self.hits.total() >= self._most:
            self.hang_up()
            raise ConnectionAbortedError(f"{path}: out of order")
        return super().count(path)

    def hang_up(self) -> None:
        """Refuse connections from now on, and cut those that are open."""
        self.stopping.set()
        self.shutdown()
        self.server_close()
        for connection in list(self._open):
            with suppress(OSError):  # closed by now
                connection.shutdown(socket.SHUT_RDWR)


class ChaosServer:
    """An address that is served, or not."""

    def __init__(self) -> None:
        self._server = _Server(0, None)
        self._port = self._server.server_port
        self._start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/"

    def go_away(self) -> None:
        self._server.hang_up()

    def come_back(self, most: int | None = None) -> None:
        """Serve; for `most` requests, and none after them, if that is given."""
        self.go_away()
        self._server = _Server(self._port, most)
        self._start()

    def _start(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
