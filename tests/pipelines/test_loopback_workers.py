"""The death of a worker beside the driver reaches the thread that waits for the job."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from apache_beam.portability.api import beam_fn_api_pb2

from pipelines.beam_workers import WorkerDiedError, noticed_deaths
from pipelines.loopback_workers import LoopbackWorkers

WORKER = SimpleNamespace(worker_id="1", control_endpoint=SimpleNamespace(url="localhost:1"))
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


def test_a_killed_worker_ends_what_waits_for_the_job(workers: LoopbackWorkers):
    threading.Timer(0.1, os.kill, (process_of(workers), signal.SIGKILL)).start()
    with pytest.raises(WorkerDiedError, match="worker 1 was killed by signal 9"), noticed_deaths():
        time.sleep(60)


def test_a_worker_that_is_stopped_or_terminated_ends_nothing(workers: LoopbackWorkers):
    with noticed_deaths():
        os.kill(process_of(workers), signal.SIGTERM)
        time.sleep(0.5)
        assert not workers.StartWorker(WORKER, None).error
        workers.StopWorker(STOP, None)
        time.sleep(0.5)
