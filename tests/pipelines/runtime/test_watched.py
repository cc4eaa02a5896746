"""A call in a watched child outlives the child, and names the images that kill it."""

from pathlib import Path

import pytest
from deadly import HANGS, WAYS, decode_each, die, die_once, fail, work

from pipelines.runtime.watched import DEATHS, MOST_KILLERS, call_watched
from schemas.store.storage import CorpusError

KEYS = tuple("abcdefgh")


@pytest.mark.parametrize("way", WAYS)
def test_an_image_that_kills_every_time_is_refused_and_the_rest_goes_through(way: str):
    became = call_watched("work", work, KEYS, {"c": way})
    killed = f"killed_worker: killed the worker {DEATHS} times ({way})"
    assert became == dict.fromkeys(KEYS, "done") | {"c": killed}


@pytest.mark.parametrize("way", HANGS)
def test_an_image_that_hangs_is_refused_as_late_and_the_rest_goes_through(way: str):
    became = call_watched("work", decode_each, KEYS, {"c": way, "g": way}, 0.4)
    late = "decode_timeout: not decoded in 0.4 s, which decode.timeout_s allows"
    assert became == dict.fromkeys(KEYS, "done") | {"c": late, "g": late}


def test_more_images_may_hang_than_kill():
    keys = [f"{number:02}" for number in range(MOST_KILLERS + 2)]
    hangs = dict.fromkeys(keys, "hangs and keeps the lock")
    became = call_watched("work", decode_each, keys, hangs, 0.05)
    assert {what.partition(":")[0] for what in became.values()} == {"decode_timeout"}


def test_the_killers_of_a_batch_are_found_among_the_others():
    became = call_watched("work", work, KEYS, {"b": "SIGKILL", "c": "SIGSEGV"}, len(KEYS))
    assert {key for key, what in became.items() if what != "done"} == {"b", "c"}
    assert "(SIGKILL)" in became["b"]
    assert "(SIGSEGV)" in became["c"]


def test_a_child_that_someone_killed_costs_no_image(tmp_path: Path):
    (tmp_path / "mark").touch()
    assert call_watched("work", die_once, str(tmp_path / "mark")) == "done"
    assert not (tmp_path / "mark").exists()


def test_an_error_comes_back_with_where_it_was_raised():
    with pytest.raises(ValueError, match="seven") as caught:
        call_watched("work", fail, "seven")
    assert "in fail" in caught.value.__notes__[0]


def test_a_call_that_dies_without_an_image_ends_with_an_error():
    with pytest.raises(CorpusError, match=r"measure of shard 3: .* died 3 times \(SIGABRT\)"):
        call_watched("measure of shard 3", die, "SIGABRT")


def test_images_that_kill_only_together_are_not_blamed():
    with pytest.raises(CorpusError, match=r"died 3 times \(SIGKILL\), and by no one image"):
        call_watched("work", work, KEYS, {"c": "together"}, 4)


def test_so_many_killers_are_rather_the_machine():
    keys = [f"{number:02}" for number in range(MOST_KILLERS + 1)]
    with pytest.raises(CorpusError, match=r"21 images killed its process.*the machine's fault"):
        call_watched("work", work, keys, dict.fromkeys(keys, "SIGKILL"))
