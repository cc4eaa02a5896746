"""One build at a time holds a folder; whoever is refused is told by whom, and how to go on."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.store import lock
from schemas.store.lock import LOCK_NAME, Holder, build_lock, holder_of, this_process
from schemas.store.storage import CorpusError, Storage

HOLD = """
import sys, time
from schemas.store.lock import build_lock
from schemas.store.storage import Storage

with build_lock(Storage(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
ELSEWHERE = replace(this_process(), host="other", machine="of another boot", lock="1")


@pytest.fixture
def bucket(tmp_path: Path) -> Storage:
    return Storage(f"memory:/{tmp_path}/corpus")


@pytest.fixture(params=["local", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path, bucket: Storage) -> Storage:
    return bucket if request.param == "bucket" else Storage(str(tmp_path / "corpus"))


@contextmanager
def held_elsewhere(store: Storage) -> Iterator["subprocess.Popen[str]"]:
    """Have another process hold a local folder."""
    command = [sys.executable, "-c", HOLD, store.root]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder
        holder.kill()


def leave(store: Storage, holder: Holder) -> None:
    store.commit_bytes(LOCK_NAME, lock._HOLDER.dump_json(holder))


def is_free(store: Storage) -> bool:
    with build_lock(store):
        return True


def refused(store: Storage, by: str) -> None:
    told = rf"{store.root}: another build holds .*\.lock: {by}; if it is dead: --force-unlock"
    with pytest.raises(CorpusError, match=told), build_lock(Storage(store.root)):
        pass


def test_a_second_build_is_refused_and_told_by_whom(store: Storage):
    with build_lock(store):
        refused(store, rf"process {os.getpid()} on .*, since \d{{4}}-.*")
    assert is_free(store)


def test_a_failed_build_releases_the_lock(store: Storage):
    with pytest.raises(ValueError, match="a bug"), build_lock(store):
        raise ValueError("a bug")
    assert is_free(store)


def test_nothing_is_left_in_a_bucket_and_an_empty_file_in_a_folder(bucket: Storage, tmp_path: Path):
    local = Storage(str(tmp_path))
    for store in (bucket, local):
        assert is_free(store)
    assert not bucket.exists(LOCK_NAME)
    assert local.read(LOCK_NAME) == b""


def test_a_folder_is_free_when_its_holder_is_killed(tmp_path: Path):
    store = Storage(str(tmp_path))
    with held_elsewhere(store) as holder:
        refused(store, f"process {holder.pid} on .*")
        holder.kill()
        holder.wait()
        assert is_free(store)


@pytest.mark.parametrize("reaped", [True, False])
def test_the_lock_of_a_process_of_this_machine_that_has_ended_is_taken_over(
    bucket: Storage, reaped: bool, capsys: pytest.CaptureFixture[str]
):
    with subprocess.Popen(["sleep", "60"]) as ended:
        holder = replace(this_process(), pid=ended.pid, started=lock._started(ended.pid))
        leave(bucket, holder)
        refused(bucket, f"process {ended.pid} on .*")
        ended.kill()
        if reaped:
            ended.wait()
        else:
            os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        assert is_free(bucket)
    assert f"broke the lock of {holder}, which has ended" in capsys.readouterr().err


def test_the_number_of_a_process_may_be_anothers_by_now(bucket: Storage):
    leave(bucket, replace(this_process(), started="1"))
    assert is_free(bucket)


def test_of_another_machine_nothing_is_known(bucket: Storage, monkeypatch: pytest.MonkeyPatch):
    leave(bucket, replace(ELSEWHERE, started="1"))
    refused(bucket, "process .* on other, since .*")
    leave(bucket, replace(this_process(), machine="", started="1"))
    monkeypatch.setattr(lock, "_machine", lambda: "")  # nor on a system that does not say
    refused(bucket, "process .*")


def test_force_unlock_breaks_the_lock_of_another_once(
    bucket: Storage, capsys: pytest.CaptureFixture[str]
):
    leave(bucket, ELSEWHERE)
    with build_lock(bucket, force_unlock=True):
        assert holder_of(bucket) != ELSEWHERE
        refused(bucket, f"process {os.getpid()} on .*")
    assert capsys.readouterr().err == f"{bucket.root}: broke the lock of {ELSEWHERE}\n"
    assert not bucket.exists(LOCK_NAME)


def test_force_unlock_breaks_a_lock_of_the_kernel_too(tmp_path: Path):
    store = Storage(str(tmp_path))
    with held_elsewhere(store), build_lock(store, force_unlock=True):
        refused(store, f"process {os.getpid()} on .*")


def test_force_unlock_needs_no_lock_to_break(store: Storage, capsys: pytest.CaptureFixture[str]):
    with build_lock(store, force_unlock=True):
        pass
    assert capsys.readouterr().err == ""


def test_a_build_whose_lock_was_broken_leaves_that_of_the_other_and_says_so(store: Storage):
    def build() -> None:
        with build_lock(store):
            leave(store, ELSEWHERE)

    with pytest.raises(CorpusError, match=r"on other, since .* took the lock over"):
        build()
    assert holder_of(store) == ELSEWHERE


@pytest.mark.parametrize("text", [b"notes", b'{"owner": "me", "heartbeat": 1.0}'])
def test_a_file_of_somebody_else_is_left_alone(store: Storage, text: bytes):
    store.commit_bytes(LOCK_NAME, text)
    for force_unlock in (False, True):
        with (
            pytest.raises(CorpusError, match="not a lock of this program; move it away"),
            build_lock(store, force_unlock=force_unlock),
        ):
            pass
    assert store.read(LOCK_NAME) == text


def test_it_may_be_released_between_two_looks(bucket: Storage, monkeypatch: pytest.MonkeyPatch):
    leave(bucket, ELSEWHERE)
    read: Callable[[Storage, str], bytes] = Storage.read

    def released(store: Storage, path: str) -> bytes:
        monkeypatch.setattr(Storage, "read", read)
        store.remove(path)
        return read(store, path)

    monkeypatch.setattr(Storage, "read", released)
    with build_lock(bucket):
        pass
