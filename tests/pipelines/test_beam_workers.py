"""A job whose worker process is gone ends, rather than waiting for its answer."""

import threading
import time

import pytest

from pipelines.beam_workers import WATCHING_THREAD, WorkerDiedError, noticed_deaths

DEATH = "Worker subprocess exited with return code -9"


def die() -> None:
    raise RuntimeError(DEATH)


def test_a_death_ends_what_waits_for_the_job():
    worker = threading.Thread(target=die, name=WATCHING_THREAD)
    threading.Timer(0.1, worker.start).start()
    with pytest.raises(WorkerDiedError, match=DEATH), noticed_deaths():
        time.sleep(60)


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
