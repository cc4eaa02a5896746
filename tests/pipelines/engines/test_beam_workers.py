"""A job whose worker process is gone ends, rather than waiting for its answer."""

import signal
import threading
import time

import pytest

from pipelines.engines.beam_workers import WATCHING_THREAD, WorkerDiedError, noticed_deaths
from pipelines.engines.engine import Engine
from schemas.store.storage import CorpusError

DEATH = "Worker subprocess exited with return code -9"


def die() -> None:
    raise RuntimeError(DEATH)


def test_a_death_ends_what_waits_for_the_job():
    worker = threading.Thread(target=die, name=WATCHING_THREAD)
    threading.Timer(0.1, worker.start).start()
    with pytest.raises(WorkerDiedError, match=DEATH), noticed_deaths():
        time.sleep(60)


def test_a_death_is_noticed_where_ctrl_c_is_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        test_a_death_ends_what_waits_for_the_job()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_worker_that_ends_of_ctrl_c_is_no_death():
    worker = threading.Thread(target=die, name=WATCHING_THREAD)
    with pytest.raises(KeyboardInterrupt), noticed_deaths():
        press_ctrl_c_and_end(worker)


def press_ctrl_c_and_end(worker: threading.Thread) -> None:
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        worker.start()
        worker.join()


def test_a_job_begins_anew_as_long_as_it_comes_further(monkeypatch: pytest.MonkeyPatch):
    came_to = [1, 2, 3, 4, 4, 4]
    runs: list[str] = []

    def dies(*arguments: object) -> None:
        runs.append("")
        raise WorkerDiedError(DEATH)

    monkeypatch.setattr(Engine, "_run", dies)
    with pytest.raises(CorpusError, match=f"m: a worker process died in each of 3 runs: {DEATH}"):
        Engine().run(lambda _: None, name="m", so_far=lambda: came_to[len(runs) - 1])
    assert len(runs) == len(came_to)


def test_other_threads_and_ctrl_c_mean_what_they_always_did(monkeypatch: pytest.MonkeyPatch):
    heard: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda error: heard.append(error.thread.name))
    with noticed_deaths():
        other = threading.Thread(target=die, name="other")
        other.start()
        other.join()
    assert heard == ["other"]
    with pytest.raises(KeyboardInterrupt), noticed_deaths():
        raise KeyboardInterrupt
