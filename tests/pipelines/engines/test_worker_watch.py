"""A job whose worker process is killed ends with an error, and any other as it would anyhow."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from pipelines.engines.engine import Engine
from pipelines.engines.worker_watch import REAPED_BY_BEAM, WorkerKilledError, run_watched
from schemas.store.storage import CorpusError

LONG_S = 60.0
Start = Callable[..., "subprocess.Popen[bytes]"]

quickly = partial(run_watched, look_s=0.05, grace_s=0.3)


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts a worker, with words in its command."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> "subprocess.Popen[bytes]":
        code = "import time; time.sleep(60)"
        started.append(subprocess.Popen([sys.executable, "-c", code, *words]))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()
        worker.wait()


def later(action: Callable[[], object], seconds: float = 1.5) -> None:
    threading.Timer(seconds, action).start()


def test_a_job_returns_or_raises_as_it_would_unwatched():
    assert quickly(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        quickly(lambda: 1 // 0)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV])
def test_a_killed_worker_ends_a_job_that_waits_for_it(how: signal.Signals, start: Start):
    worker = start()
    later(lambda: worker.send_signal(how))
    with pytest.raises(WorkerKilledError, match=f"worker process {worker.pid} was killed"):
        quickly(lambda: time.sleep(LONG_S))


def test_so_does_one_that_beam_reaps_soon_after(start: Start):
    worker = start()
    later(lambda: (worker.kill(), time.sleep(0.02), worker.wait()))
    with pytest.raises(WorkerKilledError):
        quickly(lambda: time.sleep(LONG_S))


def test_so_does_one_that_a_thread_of_beams_waits_for(start: Start):
    worker = start(REAPED_BY_BEAM)
    later(lambda: (worker.kill(), worker.wait()))
    with pytest.raises(WorkerKilledError):
        quickly(lambda: time.sleep(LONG_S))


def test_a_job_that_gets_over_it_is_left_alone(start: Start):
    worker = start()
    later(worker.kill, 0.2)
    assert quickly(lambda: time.sleep(0.4)) is None


def test_a_worker_that_beam_stops_ends_nothing(start: Start):
    worker = start()
    later(lambda: (worker.terminate(), worker.wait()), 0.3)
    assert quickly(lambda: time.sleep(1.2)) is None


def test_a_worker_that_ends_by_itself_or_of_ctrl_c_ends_nothing(start: Start):
    worker = start()
    later(lambda: worker.send_signal(signal.SIGINT), 0.3)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(.2)"]):
        assert quickly(lambda: time.sleep(1.2)) is None


def test_ctrl_c_reaches_who_waits():
    later(lambda: os.kill(os.getpid(), signal.SIGINT), 0.3)
    with pytest.raises(KeyboardInterrupt):
        quickly(lambda: time.sleep(LONG_S))


def test_the_error_of_a_build_names_the_job_and_what_to_do(monkeypatch: pytest.MonkeyPatch):
    def killed(job: object) -> None:
        raise WorkerKilledError("worker process 7 was killed")

    monkeypatch.setattr("pipelines.engines.engine.run_watched", killed)
    engine = Engine(beam_options=("--runner=FnApiRunner",))
    with pytest.raises(CorpusError, match=r"m: worker process 7 .* the same command goes on"):
        engine.run(lambda root: None, name="m")
