import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from schemas.store import lock
from schemas.store.lock import LOCK_NAME, build_lock
from schemas.store.storage import CorpusError, Storage

HOLD = """
import sys, time
from schemas.store.lock import build_lock
from schemas.store.storage import Storage

with build_lock(Storage(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def bucket(tmp_path: Path) -> Storage:
    return Storage(f"memory:/{tmp_path}/corpus")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SETTLE_S", 0.1)


def leave_behind(store: Storage, owner: str, age_s: float) -> None:
    claim = {"owner": owner, "heartbeat": time.time() - age_s}
    store.commit_bytes(LOCK_NAME, json.dumps(claim).encode())


def test_a_second_build_in_this_process_is_refused(tmp_path: Path):
    store = Storage(str(tmp_path / "corpus"))
    with build_lock(store):
        refused = pytest.raises(CorpusError, match=f"{tmp_path}.*another build holds")
        with refused, build_lock(Storage(store.root)):
            pass
    with build_lock(store):
        pass


def test_another_process_is_refused_until_the_holder_is_killed(tmp_path: Path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(CorpusError, match="another build holds"),
            build_lock(Storage(str(tmp_path))),
        ):
            pass
        holder.kill()
        holder.wait()
        with build_lock(Storage(str(tmp_path))):
            pass


def test_a_failed_build_releases_the_lock(tmp_path: Path, bucket: Storage):
    for store in (Storage(str(tmp_path)), bucket):
        with pytest.raises(ValueError, match="a bug"), build_lock(store):
            raise ValueError("a bug")
        with build_lock(store):
            pass


def test_a_second_build_in_a_bucket_is_refused_and_told_by_whom(bucket: Storage):
    with build_lock(bucket):
        refused = pytest.raises(CorpusError, match=r"process \d+ on .* last heard of 0 s ago")
        with refused, build_lock(bucket):
            pass
        assert bucket.exists(LOCK_NAME)
    assert not bucket.exists(LOCK_NAME)


@pytest.mark.parametrize(("age_s", "free"), [(lock.EXPIRY_S - 5, False), (lock.EXPIRY_S + 5, True)])
def test_a_lock_in_a_bucket_is_taken_over_once_it_is_old(bucket: Storage, age_s: float, free: bool):
    leave_behind(bucket, "process 1 on dead", age_s)
    if not free:
        with pytest.raises(CorpusError, match="process 1 on dead"), build_lock(bucket):
            pass
        return
    with build_lock(bucket):
        assert b"dead" not in bucket.read(LOCK_NAME)
    assert not bucket.exists(LOCK_NAME)


def test_of_two_builds_that_take_over_at_once_the_later_writer_holds(bucket: Storage):
    leave_behind(bucket, "process 1 on dead", 9999)
    rival = threading.Timer(0.05, leave_behind, (bucket, "process 2 on rival", 0))
    rival.start()
    with (
        pytest.raises(CorpusError, match=r"process 2 on rival.*first to take over"),
        build_lock(bucket),
    ):
        pass
    assert b"rival" in bucket.read(LOCK_NAME)


def test_a_held_lock_is_refreshed(bucket: Storage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.01)
    with build_lock(bucket):
        first = json.loads(bucket.read(LOCK_NAME))
        wait_for(lambda: json.loads(bucket.read(LOCK_NAME))["heartbeat"] > first["heartbeat"])
        assert json.loads(bucket.read(LOCK_NAME))["owner"] == first["owner"]


def test_a_beat_that_fails_is_followed_by_another(bucket: Storage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.01)
    failures = iter([ConnectionError("no network"), RuntimeError("503")])
    commit = Storage.commit_bytes

    def flaky(store: Storage, path: str, data: bytes) -> None:
        for failure in failures:
            raise failure
        commit(store, path, data)

    with build_lock(bucket):
        first = json.loads(bucket.read(LOCK_NAME))
        monkeypatch.setattr(Storage, "commit_bytes", flaky)
        wait_for(lambda: json.loads(bucket.read(LOCK_NAME))["heartbeat"] > first["heartbeat"])
    assert next(failures, None) is None


def test_a_build_that_lost_its_lock_leaves_it_and_says_so(
    bucket: Storage, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.01)

    def build() -> None:
        with build_lock(bucket):
            leave_behind(bucket, "process 2 on rival", 0)
            time.sleep(0.1)  # a few beats, none of which may take it back

    with pytest.raises(CorpusError, match="process 2 on rival took the lock over"):
        build()
    assert b"rival" in bucket.read(LOCK_NAME)


def wait_for(condition) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
