import doctest
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse, IncompleteRead
from pathlib import Path

import faulty_proxy as module
import pytest
from faulty_proxy import CUT, FAULTS, RESET_AFTER, RESET_BEFORE, FaultyProxy, faulty_proxy
from serve import FOLDER, CorpusServer, running_server

PATH = "/wild/grey16.png"
BODY = (FOLDER / PATH.lstrip("/")).read_bytes()


@pytest.fixture
def server() -> Iterator[CorpusServer]:
    with running_server() as running:
        yield running


@pytest.fixture
def proxy(server: CorpusServer) -> Iterator[FaultyProxy]:
    with faulty_proxy(server.base_url.rstrip("/"), share=1.0) as running:
        yield running


def get(proxy: FaultyProxy) -> HTTPResponse:
    connection = HTTPConnection(proxy.address.removeprefix("http://"), timeout=10)
    connection.request("GET", PATH)
    return connection.getresponse()


def test_a_request_that_meets_no_fault_is_answered_by_the_store(proxy: FaultyProxy):
    proxy.share = 0
    answer = get(proxy)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/png")
    assert answer.read() == BODY
    assert proxy.seen == [("GET", PATH, "", 200)]


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault[0].isdigit()])
def test_a_status_is_the_proxys_own(proxy: FaultyProxy, server: CorpusServer, fault: str):
    proxy.faults = [fault]
    answer = get(proxy)
    assert f"{answer.status}" == fault[:3]
    assert answer.headers["Retry-After"] == ("1" if fault.endswith("retry-after") else None)
    assert not server.hits


@pytest.mark.parametrize(("fault", "reached"), [(RESET_BEFORE, 0), (RESET_AFTER, 1)])
def test_a_reset_comes_before_or_after_the_store_has_acted(
    proxy: FaultyProxy, server: CorpusServer, fault: str, reached: int
):
    proxy.faults = [fault]
    with pytest.raises(ConnectionError):
        get(proxy)
    assert server.hits[PATH] == reached


def test_a_cut_answer_promises_more_than_it_holds(proxy: FaultyProxy):
    proxy.faults = [CUT]
    answer = get(proxy)
    assert answer.headers["Content-Length"] == f"{len(BODY)}"
    with pytest.raises((IncompleteRead, ConnectionError)):
        answer.read()


def test_a_store_that_is_gone_is_a_bad_gateway():
    with faulty_proxy("http://127.0.0.1:9") as proxy:
        assert get(proxy).status == 502
        assert proxy.seen == [("GET", PATH, "", 0)]


def test_faults_are_drawn_by_number_each_as_often():
    def draws(seed: int) -> list[str]:
        proxy = FaultyProxy(target="", share=0.1, seed=seed)
        return [proxy.draw() for _ in range(8000)]

    drawn = draws(3)
    assert drawn == draws(3) != draws(4)
    assert {drawn.count(fault) // 50 for fault in FAULTS} <= {1, 2}  # of 100 each
    assert doctest.testmod(module).failed == 0


def test_the_command_line_says_where_it_is_and_what_it_did(server: CorpusServer):
    script = Path(module.__file__)
    arguments = ["--target", server.base_url.rstrip("/"), "--share", "1", "--faults", "500"]
    with subprocess.Popen(
        [sys.executable, str(script), *arguments], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        address = json.loads(running.stdout.readline())["address"]
        assert get(FaultyProxy(target="", address=address)).status == 500
        running.send_signal(signal.SIGTERM)
        assert json.loads(running.stdout.read()) == {"requests": 1, "faults": {"500": 1}}
    assert running.returncode == 0
