"""A driver on another engine is killed or interrupted, and its job ends with it."""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator

import grpc
import pytest
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc
from builds import assert_as_undisturbed, disturbed, finish
from corpus import ROOT, Corpus
from disturbances import draw_moment

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(1800)]

PRISM = pytest.mark.engine("prism")
ENGINES = [
    pytest.param("prism", marks=PRISM),
    pytest.param("spark", marks=[pytest.mark.engine("spark"), pytest.mark.spark]),
]


def kill(build: subprocess.Popen[str]) -> int:
    build.kill()
    return -signal.SIGKILL


def interrupt(build: subprocess.Popen[str]) -> int:
    """Press Ctrl-C, as a terminal does for all processes."""
    os.killpg(build.pid, signal.SIGINT)
    return 130


@pytest.mark.parametrize("end", [kill, interrupt])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_driver_that_ends_leaves_nothing_behind(
    engine: str,
    end: Callable[[subprocess.Popen[str]], int],
    corpus: Corpus,
    undisturbed: Corpus,
) -> None:
    draw = random.Random(f"driver on {engine}")
    there = "--engine", engine
    expected: list[int] = []
    code, said = disturbed(
        corpus,
        draw_moment(draw, ["raw", "signals"]),
        lambda build: expected.append(end(build)),
        *there,
    )
    assert [code] == expected, said
    finish(corpus, *there)
    assert_as_undisturbed(corpus, undisturbed)


@pytest.fixture
def job_server() -> Iterator[str]:
    """Prism, started by somebody else; gives its endpoint."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [f"--job_port={port}", "--web_port=0"]
    with subprocess.Popen([ROOT / "build/engines/prism", *words]) as server:
        with grpc.insecure_channel(f"localhost:{port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=60)
        yield f"localhost:{port}"
        server.kill()


def states(endpoint: str) -> list[int]:
    with grpc.insecure_channel(endpoint) as channel:
        jobs = beam_job_api_pb2_grpc.JobServiceStub(channel)
        return [job.state for job in jobs.GetJobs(beam_job_api_pb2.GetJobsRequest()).job_info]


@PRISM
def test_an_interrupted_job_on_a_server_of_others_is_cancelled(
    job_server: str, corpus: Corpus, undisturbed: Corpus
) -> None:
    there = "--engine", "prism", "--", f"--job_endpoint={job_server}"
    moment = draw_moment(random.Random("job endpoint"), ["raw", "signals"])
    code, said = disturbed(corpus, moment, lambda build: build.send_signal(signal.SIGINT), *there)
    assert code == 130, said
    ended = {beam_job_api_pb2.JobState.DONE, beam_job_api_pb2.JobState.CANCELLED}
    until = time.monotonic() + 60
    while not ended.issuperset(found := states(job_server)):
        assert time.monotonic() < until, found
        time.sleep(0.2)
    assert beam_job_api_pb2.JobState.CANCELLED in found
    finish(corpus, *there)
    assert_as_undisturbed(corpus, undisturbed)
