"""The death of a worker beside the driver reaches the thread that waits for the job."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from apache_beam.portability.api import beam_fn_api_pb2

from pipelines.engines.beam_workers import WorkerDiedError, noticed_deaths
from pipelines.engines.loopback_workers import LoopbackWorkers

WORKER = SimpleNamespace(worker_id="1", control_endpoint=SimpleNamespace(url="localhost:1"))
DRIVER = """
import atexit, os, sys, time
import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from pipelines.engines.loopback_workers import LoopbackWorkers

os.environ["PATH"] = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
atexit.register(time.sleep, 1)  # at the very end, for what threads have to say
address, server = LoopbackWorkers.start(use_process=True)
stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(grpc.insecure_channel(address))
request = beam_fn_api_pb2.StartWorkerRequest(worker_id="1")
request.control_endpoint.url = "localhost:1"
assert not stub.StartWorker(request).error
"""
STOP = beam_fn_api_pb2.StopWorkerRequest(worker_id="1")


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackWorkers]:
    """A pool of one worker, which never reaches the engine it is to work for."""
    # Beam starts it as `python`.
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable), prepend=":")
    pool = LoopbackWorkers(use_process=True)
    assert not pool.StartWorker(WORKER, None).error
    yield pool
    pool.StopWorker(STOP, None)


def process_of(pool: Any) -> int:
    return pool._worker_processes["1"].pid


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_worker_ends_what_waits_for_the_job(workers: LoopbackWorkers, how: signal.Signals):
    threading.Timer(0.1, os.kill, (process_of(workers), how)).start()
    told = f"worker 1 was killed by signal {how:d}"
    with pytest.raises(WorkerDiedError, match=told), noticed_deaths():
        time.sleep(60)


def test_a_worker_that_beam_stops_ends_nothing(workers: LoopbackWorkers):
    with noticed_deaths():
        workers.StopWorker(STOP, None)
        time.sleep(0.5)


def test_workers_that_are_left_end_with_their_driver_in_peace():
    done = subprocess.run([sys.executable, "-c", DRIVER], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "killed by signal" not in done.stderr
