"""Work that may kill its worker is done again in a child, which names the images that kill it."""

import os
from pathlib import Path

import pytest
from deadly import HANGS, WAYS, decode_each, die, die_once, fail, work

from pipelines.runtime.crash_isolation import (
    DEATHS,
    FOLDER,
    MOST_CRASHING,
    attempt,
    call_isolated,
    forget_attempts,
)
from schemas.store.storage import CorpusError, Storage

KEYS = tuple("abcdefgh")


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
    store.commit_bytes(f"{FOLDER}/measure/00007", b"of the failed")
    with attempt(store, "measure", 7) as call:
        assert call(os.getpid) != os.getpid()
        assert marks(store) == ["00007"]
    with attempt(store, "measure", 7) as call:
        assert call(os.getpid) == os.getpid()


def test_the_marks_of_other_shards_and_stages_mean_nothing(store: Storage):
    store.commit_bytes(f"{FOLDER}/measure/00006", b"of the failed")
    store.commit_bytes(f"{FOLDER}/vq_tokens/00007", b"of the failed")
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
        store.commit_bytes(f"{FOLDER}/{name}", b"of the failed")
    forget_attempts(store, "measure")
    assert marks(store) == []
    assert list(store.listing(f"{FOLDER}/shard")) == ["00000"]


@pytest.mark.parametrize("way", WAYS)
def test_an_image_that_kills_every_time_is_refused_and_the_rest_goes_through(way: str):
    became = call_isolated("work", work, KEYS, {"c": way})
    killed = f"killed_worker: killed the worker {DEATHS} times ({way})"
    assert became == dict.fromkeys(KEYS, "done") | {"c": killed}


@pytest.mark.parametrize("way", HANGS)
def test_an_image_that_hangs_is_refused_as_late_and_the_rest_goes_through(way: str):
    became = call_isolated("work", decode_each, KEYS, {"c": way, "g": way}, 0.4)
    late = "decode_timeout: not decoded in 0.4 s, which decode.timeout_s allows"
    assert became == dict.fromkeys(KEYS, "done") | {"c": late, "g": late}


def test_more_images_may_hang_than_kill():
    keys = [f"{number:02}" for number in range(MOST_CRASHING + 2)]
    hangs = dict.fromkeys(keys, "hangs and keeps the lock")
    became = call_isolated("work", decode_each, keys, hangs, 0.05)
    assert {what.partition(":")[0] for what in became.values()} == {"decode_timeout"}


def test_the_crashing_images_of_a_batch_are_found_among_the_others():
    became = call_isolated("work", work, KEYS, {"b": "SIGKILL", "c": "SIGSEGV"}, len(KEYS))
    assert {key for key, what in became.items() if what != "done"} == {"b", "c"}
    assert "(SIGKILL)" in became["b"]
    assert "(SIGSEGV)" in became["c"]


def test_a_child_that_someone_killed_costs_no_image(tmp_path: Path):
    (tmp_path / "mark").touch()
    assert call_isolated("work", die_once, str(tmp_path / "mark")) == "done"
    assert not (tmp_path / "mark").exists()


def test_an_error_comes_back_with_where_it_was_raised():
    with pytest.raises(ValueError, match="seven") as caught:
        call_isolated("work", fail, "seven")
    assert "in fail" in caught.value.__notes__[0]


def test_a_call_that_dies_without_an_image_ends_with_an_error():
    with pytest.raises(CorpusError, match=r"measure of shard 3: .* died 3 times \(SIGABRT\)"):
        call_isolated("measure of shard 3", die, "SIGABRT")


def test_images_that_kill_only_together_are_not_blamed():
    with pytest.raises(CorpusError, match=r"died 3 times \(SIGKILL\), and by no one image"):
        call_isolated("work", work, KEYS, {"c": "together"}, 4)


def test_so_many_crashing_images_are_rather_the_machine():
    keys = [f"{number:02}" for number in range(MOST_CRASHING + 1)]
    with pytest.raises(CorpusError, match=r"21 images killed its process.*the machine's fault"):
        call_isolated("work", work, keys, dict.fromkeys(keys, "SIGKILL"))
