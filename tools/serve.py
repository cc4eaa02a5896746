"""A server of the bundled corpus on the local host, with some paths that misbehave like the web.

    python tools/serve.py [--port 8437] -- COMMAND...

starts the server, runs the command, stops the server and returns the command's exit code.
"""

import argparse
import errno
import mimetypes
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

FOLDER = Path(__file__).parent.parent / "tests/corpus"
PORT = 8437
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
HOTLINK_PAGE = b"<!DOCTYPE html><html><body><h1>No hotlinking, please</h1></body></html>\n"
DRIP_S = 0.2  # between two bytes of a dripping body


class CorpusServer(ThreadingHTTPServer):
    """The server; `hits` counts the requests for each path."""

    daemon_threads = True
    request_queue_size = 256  # connections that wait to be accepted; the default of 5 resets some

    def __init__(self, folder: Path, port: int) -> None:
        """Bind to 127.0.0.1; port 0 takes a free one.

        Raises:
            OSError: the port is taken.
        """
        super().__init__(("127.0.0.1", port), CorpusHandler)
        self.folder = folder.resolve()
        self.base_url = f"http://127.0.0.1:{self.server_port}/"
        self.stopping = threading.Event()
        self.hits: Counter[str] = Counter()
        self._hits_lock = threading.Lock()

    def count(self, path: str) -> int:
        """Count a request for a path and return the number so far."""
        with self._hits_lock:
            self.hits[path] += 1
            return self.hits[path]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect, which the misbehaving paths cause."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class CorpusHandler(BaseHTTPRequestHandler):
    """One connection, kept alive from request to request."""

    server: CorpusServer  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one write
    timeout = 30  # s that an idle connection is kept

    def do_GET(self) -> None:
        """Answer with the behaviour of the path."""
        path = self.path.partition("?")[0]
        hits = self.server.count(path)
        SPECIAL.get(path, send_file)(self, hits)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the requests are in `hits`."""

    def answer(self, status: int, body: bytes, content_type: str, **headers: str) -> None:
        """Send one complete answer; a header `X_Y` is sent as `X-Y`."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


Behaviour = Callable[[CorpusHandler, int], None]  # the int counts the requests, from 1


def send_file(handler: CorpusHandler, hits: int, **headers: str) -> None:
    """Send the file the path names, or 404."""
    file = find_file(handler.server.folder, handler.path.partition("?")[0])
    if file is None:
        return send_status(404)(handler, hits)
    content_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    handler.answer(200, file.read_bytes(), content_type, **headers)


def find_file(folder: Path, path: str) -> Path | None:
    """Return the file of a URL's path, None if there is no such file inside the folder."""
    name = unquote(path).lstrip("/")
    if "\0" in name:
        return None
    file = (folder / name).resolve()
    return file if file.is_relative_to(folder) and file.is_file() else None


def send_status(status: int) -> Behaviour:
    """Refuse with this status, always."""
    return lambda handler, _hits: handler.answer(status, b"no\n", "text/plain")


def send_redirect(target: str) -> Behaviour:
    """Redirect to another path of this server."""
    return lambda handler, _hits: handler.answer(302, b"", "text/plain", Location=target)


def send_html_as_png(handler: CorpusHandler, _hits: int) -> None:
    """Send a web page under the content type of an image."""
    handler.answer(200, HOTLINK_PAGE, "image/png")


def send_busy_once(handler: CorpusHandler, hits: int) -> None:
    """Answer the first request with 429 and a wait of a second, later ones with the file."""
    if hits == 1:
        handler.answer(429, b"busy\n", "text/plain", Retry_After="1")
    else:
        send_file(handler, hits)


def send_no_ai(handler: CorpusHandler, hits: int) -> None:
    """Send the file with a header that forbids training models on it."""
    send_file(handler, hits, X_Robots_Tag="noai")


def drip(handler: CorpusHandler, _hits: int) -> None:
    """Send a byte now and then: no single read times out, but the body never ends."""
    start_png(handler, Content_Length="1000000")
    while not handler.server.stopping.wait(DRIP_S):
        handler.wfile.write(b"\0")
        handler.wfile.flush()


def send_endless(handler: CorpusHandler, _hits: int) -> None:
    """Send zeros for as long as the client reads."""
    start_png(handler)
    while not handler.server.stopping.is_set():
        handler.wfile.write(bytes(65_536))


def start_png(handler: CorpusHandler, **headers: str) -> None:
    """Send the headers of an answer and the first bytes of a PNG; then the connection closes."""
    handler.send_response(200)
    for name, value in {"Content_Type": "image/png", "Connection": "close", **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(PNG_SIGNATURE)
    handler.wfile.flush()


SPECIAL: dict[str, Behaviour] = {
    "/wild/gone.png": send_status(404),
    "/wild/always_500.png": send_status(500),
    "/wild/drips.png": drip,
    "/wild/endless.png": send_endless,
    "/wild/html_as_png.png": send_html_as_png,
    "/wild/moved.png": send_redirect("/wild/moved_here.png"),
    "/wild/busy_once.png": send_busy_once,
    "/wild/no_ai.png": send_no_ai,
}


@contextmanager
def running_server(port: int = 0, folder: Path = FOLDER) -> Iterator[CorpusServer]:
    """Run the server in a thread until the block ends; port 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """
    with CorpusServer(folder, port) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server
        finally:
            server.stopping.set()
            server.shutdown()


@contextmanager
def serve(port: int = 0, folder: Path = FOLDER) -> Iterator[str]:
    """Run the server and yield its address, with a final slash."""
    with running_server(port, folder) as server:
        yield server.base_url


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command with the server and return the command's exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=PORT, help=f"default: {PORT}")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="what to run, after --")
    chosen = parser.parse_args(arguments)
    try:
        with serve(chosen.port):
            return subprocess.run(chosen.command).returncode
    except FileNotFoundError as error:
        print(f"the command was not found: {error}", file=sys.stderr)
        return 127
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        print(f"port {chosen.port} is taken: stop what uses it, or give --port", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
