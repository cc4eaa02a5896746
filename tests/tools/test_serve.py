import io
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import pytest
import serve
from PIL import Image
from serve import FOLDER, CorpusServer, running_server

# the URL and the file of each bundled image
IMAGES = [
    (quote(file.relative_to(FOLDER).as_posix()), file)
    for file in sorted((FOLDER / "openclipart").rglob("*.png"))
]


@pytest.fixture
def server() -> Iterator[CorpusServer]:
    with running_server() as running:
        yield running


def get(server: CorpusServer, path: str) -> tuple[int, Message, bytes]:
    """Get a path; an error status is an answer like any other, a redirect is followed."""
    try:
        with urllib.request.urlopen(f"{server.base_url}{path}", timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def test_the_server_sends_the_bytes_of_the_file_and_counts_each_request(server: CorpusServer):
    url, file = IMAGES[0]
    for _ in range(2):
        status, headers, body = get(server, url)
        assert (status, headers["Content-Type"]) == (200, "image/png")
        assert body == file.read_bytes()
    assert server.hits == {f"/{url}": 2}


@pytest.mark.parametrize(
    "path",
    [
        "../test_corpus.py",
        "%2e%2e/test_corpus.py",
        "wild/..%2f..%2ftest_corpus.py",
        "/etc/passwd",
        "wild",
        "a%00b",
    ],
)
def test_nothing_outside_the_folder_is_served(server: CorpusServer, path: str):
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request("GET", f"/{path}")
    assert connection.getresponse().status == 404
    connection.close()


def test_a_link_that_leaves_the_folder_is_not_followed(tmp_path: Path):
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "link.txt").symlink_to(tmp_path / "secret.txt")
    with running_server(folder=tmp_path / "public") as server:
        assert get(server, "link.txt")[0] == 404


@pytest.mark.parametrize(("path", "status"), [("wild/gone.png", 404), ("wild/always_500.png", 500)])
def test_a_refused_path_is_refused_every_time(server: CorpusServer, path: str, status: int):
    assert [get(server, path)[0] for _ in range(3)] == [status] * 3


def test_a_moved_image_is_found_by_its_redirect(server: CorpusServer):
    status, _, body = get(server, "wild/moved.png")
    assert (status, body) == (200, (FOLDER / "wild/moved_here.png").read_bytes())
    assert server.hits == {"/wild/moved.png": 1, "/wild/moved_here.png": 1}


def test_a_busy_path_asks_for_a_second_and_then_sends_the_image(server: CorpusServer):
    status, headers, _ = get(server, "wild/busy_once.png")
    assert (status, headers["Retry-After"]) == (429, "1")
    assert [get(server, "wild/busy_once.png")[0] for _ in range(2)] == [200, 200]


def test_a_web_page_is_sent_as_a_png(server: CorpusServer):
    status, headers, body = get(server, "wild/html_as_png.png")
    assert (status, headers["Content-Type"]) == (200, "image/png")
    assert body.startswith(b"<!DOCTYPE html>")


def test_the_opt_out_is_a_header_beside_a_good_image(server: CorpusServer):
    status, headers, body = get(server, "wild/no_ai.png")
    assert (status, headers["X-Robots-Tag"]) == (200, "noai")
    Image.open(io.BytesIO(body)).load()


def test_an_endless_body_goes_past_any_limit_and_declares_no_length(server: CorpusServer):
    with urllib.request.urlopen(f"{server.base_url}wild/endless.png", timeout=10) as answer:
        assert answer.headers["Content-Length"] is None
        assert len(answer.read(30_000_000)) == 30_000_000


def test_a_dripping_body_defeats_a_time_out_per_read_and_stops_with_the_server():
    with running_server() as server:
        connection = socket.create_connection(("127.0.0.1", server.server_port), timeout=2)
        connection.sendall(b"GET /wild/drips.png HTTP/1.1\r\nHost: here\r\n\r\n")
        start = time.monotonic()
        received = [connection.recv(4096) for _ in range(5)]
        assert all(received)
        assert time.monotonic() - start > 0.4
        start = time.monotonic()
    assert time.monotonic() - start < 20
    while connection.recv(4096):
        pass
    connection.close()


def test_64_clients_at_once_get_every_image_over_connections_kept_alive(server: CorpusServer):
    images = IMAGES[:64] * 2

    def fetch_four(first: int) -> list[int]:
        connection = HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        sizes: list[int] = []
        sockets: set[object] = set()
        for url, _ in images[first : first + 4]:
            connection.request("GET", f"/{url}")
            sizes.append(len(connection.getresponse().read()))
            sockets.add(connection.sock)
        connection.close()
        assert len(sockets) == 1
        return sizes

    with ThreadPoolExecutor(64) as clients:
        fetched = list(clients.map(fetch_four, range(64)))
    sizes = [file.stat().st_size for _, file in images]
    assert fetched == [sizes[first : first + 4] for first in range(64)]
    assert sum(server.hits.values()) == 256


def run_beside_server(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, serve.__file__, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def test_the_command_runs_beside_the_server_and_its_exit_code_is_returned():
    port = free_port()
    script = (
        "import sys, urllib.request as r;"
        f"r.urlopen('http://127.0.0.1:{port}/wild/icon.png').read(); sys.exit(7)"
    )
    done = run_beside_server("--port", str(port), "--", sys.executable, "-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


def test_a_taken_port_is_named(server: CorpusServer):
    done = run_beside_server("--port", str(server.server_port), "--", "true")
    assert done.returncode == 1
    assert f"port {server.server_port} is taken" in done.stderr


def test_a_command_that_is_not_there_is_named():
    done = run_beside_server("--port", str(free_port()), "--", "no-such-command")
    assert done.returncode == 127
    assert "no-such-command" in done.stderr
