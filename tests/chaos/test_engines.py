"""A driver on another engine, or a worker beside it, is killed or interrupted."""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import grpc
import psutil
import pytest
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc
from builds import assert_as_undisturbed, disturbed, finish
from corpus import ROOT, Corpus
from disturbances import beam_workers, descendants, draw_moment, kill_one, start, wait_for
from engines import EMBEDDED

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(1800)]

PRISM = pytest.mark.engine("prism")


@pytest.mark.parametrize("engine", EMBEDDED)
def test_a_driver_that_is_interrupted_leaves_nothing_behind(
    engine: str, corpus: Corpus, undisturbed: Corpus
) -> None:
    moment = draw_moment(random.Random(f"driver on {engine}"), ["raw", "signals"])
    code, said = disturbed(
        corpus,
        moment,
        lambda build: os.killpg(build.pid, signal.SIGINT),  # as a terminal does, to all processes
        *("--engine", engine),
    )
    assert code == 130, said
    finish(corpus, "--engine", engine)
    assert_as_undisturbed(corpus, undisturbed)


@pytest.mark.parametrize("engine", EMBEDDED)
def test_what_a_killed_driver_leaves_behind_is_ended_by_hand(
    engine: str, corpus: Corpus, undisturbed: Corpus
) -> None:
    moment = draw_moment(random.Random(f"killed driver on {engine}"), ["raw", "signals"])
    build = start(corpus, "--engine", engine)
    assert wait_for(moment, build, corpus.out)
    family = descendants(build)
    build.kill()
    build.wait()
    for left in family:
        with suppress(psutil.NoSuchProcess):
            left.kill()
    finish(corpus, "--engine", engine)
    assert_as_undisturbed(corpus, undisturbed)


@pytest.mark.parametrize("engine", EMBEDDED)
def test_a_killed_worker_ends_the_build_and_the_same_command_goes_on(
    engine: str, corpus: Corpus, undisturbed: Corpus
) -> None:
    draw = random.Random(f"worker on {engine}")
    code, said = disturbed(
        corpus,
        draw_moment(draw, ["raw", "signals"]),
        lambda build: kill_one(partial(beam_workers, build), draw, build),
        *("--engine", engine),
    )
    assert code in (0, 1), said  # the job may have been at its end
    finish(corpus, "--engine", engine)
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
