"""What a store does now and then is got over; what it does for good is said in a sentence."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import fsspec
import pytest
from corpus import ROOT, Corpus
from faulty_proxy import FAULTS, RESET_AFTER, FaultyProxy
from object_stores import ObjectStore

from schemas.store.lock import LOCK_NAME, build_lock, holder_of, this_process
from schemas.store.retries import PatientFileSystem
from schemas.store.storage import CorpusError, Storage


def fail_next(proxy: FaultyProxy, *faults: str) -> None:
    """Let the next requests meet these faults, each one, and those after them none."""
    waiting = iter(faults)
    proxy.draw = lambda: next(waiting, "")  # type: ignore[method-assign]


@pytest.mark.slow  # a second for every fault of gs://
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if "retry-after" not in fault])
def test_every_call_gets_over_a_fault(
    proxy: FaultyProxy, bucket: Storage, fault: str, tmp_path: Path
):
    def after_fault(call: Callable[[], object]) -> object:
        before = proxy.counts.get(fault, 0)
        fail_next(proxy, fault)
        result = call()
        assert proxy.counts[fault] == before + 1
        return result

    local = tmp_path / "file"
    local.write_bytes(b"of a file")
    after_fault(lambda: bucket.commit_bytes("a", b"0123456789"))
    after_fault(lambda: bucket.commit_file("b", local))
    assert after_fault(lambda: bucket.read("a")) == b"0123456789"
    assert after_fault(lambda: bucket.read_end("a", 3)) == b"789"
    assert after_fault(lambda: bucket.read_ranges([("b", 3, 6), ("a", 0, 2)])) == [b"a file", b"01"]
    assert after_fault(lambda: set(bucket.listing(""))) == {"a", "b"}
    assert after_fault(lambda: bucket.exists("a")) is True
    assert after_fault(lambda: bucket.exists("c")) is False
    fail_next(proxy, fault, "", fault)  # as it is opened, and as it is read
    with bucket.open("b") as file:
        assert file.read() == b"of a file"
    after_fault(lambda: bucket.remove("a"))
    assert set(bucket.listing("")) == {"b"}


def test_a_lock_whose_making_was_not_confirmed_is_ours(proxy: FaultyProxy, bucket: Storage):
    fail_next(proxy, RESET_AFTER)
    with build_lock(bucket):
        assert proxy.counts[RESET_AFTER] == 1
        with pytest.raises(CorpusError, match="another build holds"), build_lock(bucket):
            pass
    assert not bucket.exists(LOCK_NAME)


HOLD = """
import os, signal, sys
from schemas.store.lock import build_lock
from schemas.store.storage import Storage

with build_lock(Storage(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_lock_of_a_build_that_was_killed_here_is_taken_over(
    bucket: Storage, capsys: pytest.CaptureFixture[str]
):
    killed = subprocess.run([sys.executable, "-c", HOLD, bucket.root], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    holder = holder_of(bucket)
    with build_lock(bucket):
        pass
    assert f"broke the lock of {holder}, which has ended" in capsys.readouterr().err
    assert not bucket.exists(LOCK_NAME)


def test_that_of_a_build_elsewhere_is_broken_by_force(bucket: Storage):
    elsewhere = replace(this_process(), host="other", machine="another")
    bucket.commit_bytes(LOCK_NAME, json.dumps(asdict(elsewhere)).encode())
    told = r"process \d+ on other, since .*; if it is dead: --force-unlock"
    with pytest.raises(CorpusError, match=told), build_lock(bucket):
        pass
    with build_lock(bucket, force_unlock=True):
        assert holder_of(bucket) != elsewhere
    assert not bucket.exists(LOCK_NAME)


@pytest.mark.slow
def test_a_large_file_is_whole_though_the_answer_to_its_last_part_is_lost(
    proxy: FaultyProxy, bucket: Storage, tmp_path: Path
):
    """From 5 MiB (gs://) or 100 MiB (s3://) a file is sent in parts of 50 MiB."""
    megabytes, requests = {"gs": (6, 2), "s3": (106, 5)}[bucket.root[:2]]
    local = tmp_path / "large"
    local.write_bytes(bytes(range(250)) * (megabytes * 4000))
    fail_next(proxy, *[""] * (requests - 1), RESET_AFTER)
    fs, path = bucket.locate("large")
    PatientFileSystem(fs.fs, pauses_s=[0.01]).put_file(str(local), path)
    assert proxy.counts[RESET_AFTER] == 1
    assert bucket.read("large") == local.read_bytes()


@pytest.mark.slow
def test_what_the_client_gives_up_is_tried_again_after_a_pause(
    proxy: FaultyProxy, bucket: Storage, capsys: pytest.CaptureFixture[str]
):
    bucket.commit_bytes("a", b"x")
    fs, path = bucket.locate("a")
    pauses: list[float] = []
    fail_next(proxy, *["503"] * 8)
    assert PatientFileSystem(fs.fs, sleep=pauses.append).cat_file(path) == b"x"
    assert pauses == [5.0]
    said = capsys.readouterr().err
    assert re.fullmatch(
        rf"{bucket.root}/a: the store answered 503 \(.*\); try 1 of 4, again in 5 s\n", said
    )


@pytest.mark.slow
def test_a_range_that_the_client_gives_up_is_read_again(proxy: FaultyProxy, bucket: Storage):
    bucket.commit_bytes("a", b"0123456789")
    fail_next(proxy, *["503"] * 6)
    assert bucket.read_ranges([("a", 2, 3)]) == [b"234"]
    assert proxy.counts["503"] == 6


@pytest.mark.slow
def test_a_store_that_stays_away_is_named(bucket: Storage, proxy: FaultyProxy):
    fs, path = bucket.locate("a")
    proxy.share, proxy.faults = 1.0, ["503"]
    with pytest.raises(CorpusError, match=rf"{bucket.root}/a: the store answered 503 \(.*kept"):
        PatientFileSystem(fs.fs, pauses_s=()).cat_file(path)


@pytest.mark.slow
def test_a_store_that_cannot_be_reached_is_named(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
):
    nowhere = store.behind("http://127.0.0.1:9").fs_options
    monkeypatch.setitem(fsspec.config.conf, store.protocol, nowhere)
    lost = Storage(f"{store.protocol}://bucket/corpus")
    fs, path = lost.locate("a")
    with pytest.raises(CorpusError, match=rf"{lost.root}/a: the store could not be reached \("):
        PatientFileSystem(fs.fs, pauses_s=()).cat_file(path)


@pytest.mark.parametrize(
    ("status", "said"), [("403", "denies access"), ("401", "does not accept the credentials")]
)
def test_no_access_is_said_at_once(proxy: FaultyProxy, bucket: Storage, status: str, said: str):
    bucket.commit_bytes("a", b"x")
    calls: list[Callable[[], object]] = [
        lambda: bucket.read("a"),
        lambda: bucket.listing(""),
        lambda: bucket.exists("a"),
        lambda: bucket.read_ranges([("a", 0, 1)]),
        lambda: bucket.commit_bytes("a", b"y"),
        lambda: bucket.remove("a"),
        lambda: bucket.open("a").__enter__(),
    ]
    proxy.share, proxy.faults = 1.0, [status]
    before = proxy.drawn
    for call in calls:
        with pytest.raises(CorpusError, match=rf"{bucket.root}.*: the store {said} \("):
            call()
    # A call of gcsfs asks for a file and up to thrice whether it is there, the last of these
    # perhaps after the call has failed: so the sum is held, not each call's share of it.
    assert proxy.drawn - before <= 4 * len(calls)


def test_a_bucket_that_is_not_there_is_named(store: ObjectStore):
    lost = Storage(f"{store.protocol}://no-such-bucket/corpus")
    with pytest.raises(CorpusError, match=rf"{lost.root}/.lock: there is no bucket"):
        build_lock(lost).__enter__()
    assert lost.listing("raw") == {}


def cli(*arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "pipelines", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_command_line_says_it_in_a_line(
    store: ObjectStore, proxy: FaultyProxy, make_corpus: Callable[..., Corpus]
):
    lost = f"{store.protocol}://no-such-bucket/corpus"
    printed = make_corpus(out=lost).build(expect=1)
    assert printed.splitlines()[-1].startswith(f"vargpt-corpus: {lost}/.lock: there is no bucket")
    assert "Traceback" not in printed
    proxy.share, proxy.faults = 1.0, ["403"]
    code, printed = cli("verify", f"{store.protocol}://denied/corpus")
    assert code == 2
    denied = f"vargpt-corpus: {store.protocol}://denied/corpus/manifest.json: the store denies"
    assert printed.startswith(denied)
    assert "Traceback" not in printed


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_build_through_a_tenth_of_faults_ends_with_the_same_bytes(
    proxy: FaultyProxy, store: ObjectStore, built: Corpus, make_corpus: Callable[..., Corpus]
):
    corpus = make_corpus(out=f"{store.make_bucket('faulty')}/corpus")
    proxy.share, proxy.seed = 0.1, 3
    corpus.build(timeout_s=800)
    assert set(proxy.counts) == {"none", *FAULTS}
    proxy.share = 0
    assert corpus.contents() == built.contents()  # nothing missing, nothing partial, nothing more
    assert corpus.verify() == (0, f"{corpus.out}: verified, no fault\n")
