"""An attempt leaves a mark until it has ended; who finds one works in a child process."""

import os
from pathlib import Path

import pytest

from pipelines.runtime.attempts import FOLDER, attempt, forget_attempts
from schemas.store.storage import Storage


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return Storage({"local": "", "memory": "memory:/"}[request.param] + str(tmp_path / "corpus"))


def marks(store: Storage) -> list[str]:
    return list(store.listing(f"{FOLDER}/measure"))


def test_the_mark_stands_until_the_work_is_committed(store: Storage):
    with attempt(store, "measure", 7) as call:
        assert call(os.getpid) == os.getpid()
        assert marks(store) == ["00007"]
    assert marks(store) == []


def test_after_a_death_the_work_is_done_in_a_child_and_the_mark_is_gone(store: Storage):
    store.commit_bytes(f"{FOLDER}/measure/00007", b"of the dead")
    with attempt(store, "measure", 7) as call:
        assert call(os.getpid) != os.getpid()
        assert marks(store) == ["00007"]
    with attempt(store, "measure", 7) as call:
        assert call(os.getpid) == os.getpid()


def test_the_marks_of_other_shards_and_stages_mean_nothing(store: Storage):
    store.commit_bytes(f"{FOLDER}/measure/00006", b"of the dead")
    store.commit_bytes(f"{FOLDER}/vq_tokens/00007", b"of the dead")
    with attempt(store, "measure", 7) as call:
        assert call(os.getpid) == os.getpid()


def test_a_worker_that_can_tell_of_its_error_leaves_no_mark(store: Storage):
    with pytest.raises(FileNotFoundError), attempt(store, "measure", 7) as call:
        call(os.stat, "/nowhere")
    assert marks(store) == []


def test_a_worker_that_is_interrupted_leaves_one(store: Storage):
    with pytest.raises(KeyboardInterrupt), attempt(store, "measure", 7):
        raise KeyboardInterrupt
    assert marks(store) == ["00007"]


def test_work_that_decodes_nothing_touches_no_store(store: Storage):
    with attempt(store, "pair", 7, decodes=False) as call:
        assert call(os.getpid) == os.getpid()
        assert store.listing(f"{FOLDER}/pair") == {}


def test_the_marks_of_a_finished_stage_are_forgotten(store: Storage):
    for name in ("measure/00000", "measure/00001", "shard/00000"):
        store.commit_bytes(f"{FOLDER}/{name}", b"of the dead")
    forget_attempts(store, "measure")
    assert marks(store) == []
    assert list(store.listing(f"{FOLDER}/shard")) == ["00000"]
