import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from schemas.store.storage import CorpusError, Storage
from schemas.store.whole_file import TEMPORARY_PREFIX


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return Storage({"local": "", "memory": "memory:/"}[request.param] + str(tmp_path / "corpus"))


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_is_committed_is_read_back(store: Storage):
    store.commit_bytes("raw/a.bin", b"first")
    store.commit_bytes("raw/a.bin", b"second")
    with store.scratch() as scratch:
        (scratch / "b").write_bytes(b"third")
        store.commit_file("raw/b.bin", scratch / "b")
    assert store.read("raw/a.bin") == b"second"
    assert set(store.listing("raw")) == {"a.bin", "b.bin"}
    with store.open("raw/b.bin") as file:
        assert file.read(2) == b"th"


def test_a_file_is_there_until_it_is_removed_and_may_be_removed_twice(store: Storage):
    store.commit_bytes("raw/a.bin", b"x")
    assert store.exists("raw/a.bin")
    store.remove("raw/a.bin")
    store.remove("raw/a.bin")
    assert not store.exists("raw/a.bin")
    with pytest.raises(FileNotFoundError):
        store.read("raw/a.bin")


def test_only_one_creates_a_file(store: Storage):
    assert store.create(".attempts/measure/00000", b"mine")
    assert not store.create(".attempts/measure/00000", b"yours")
    assert store.read(".attempts/measure/00000") == b"mine"


def test_a_file_that_was_created_by_a_request_sent_twice_is_ones_own():
    store = Storage("memory://created")
    assert store.create("mark", b"mine")
    assert store.create("mark", b"mine")


def test_a_folder_that_is_not_there_lists_nothing(store: Storage):
    assert store.listing("nowhere") == {}


def test_a_rewritten_file_is_listed_as_another_version(store: Storage):
    store.commit_bytes("raw/a.bin", b"first")
    before = store.listing("raw")
    time.sleep(0.02)  # a file system's clock ticks in milliseconds
    store.commit_bytes("raw/a.bin", b"other")
    assert store.listing("raw")["a.bin"] != before["a.bin"]


def test_a_commit_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    store = Storage(str(tmp_path))
    store.commit_bytes("raw/a.bin", b"old")
    with pytest.raises(TypeError):
        store.commit_bytes("raw/a.bin", "no bytes")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        store.commit_file("raw/a.bin", tmp_path / "missing")
    assert store.read("raw/a.bin") == b"old"
    assert files_below(tmp_path) == {"raw/a.bin"}


KILLED_IN_THE_MIDDLE = """
import os, sys
from pathlib import Path
from schemas.store.storage import Storage

def killed(*_):
    print("writing", flush=True)
    os.kill(os.getpid(), 9)

store = Storage(sys.argv[1])
if sys.argv[2] == "bytes":
    class Half(bytes):
        pass
    Path.write_bytes = lambda path, data: (open(path, "wb").write(data[:3]), killed())
    store.commit_bytes("raw/a.bin", b"whole")
else:
    with store.scratch() as scratch:
        (scratch / "tar").write_bytes(b"who")
        os.replace = killed
        store.commit_file("raw/a.bin", scratch / "tar")
"""


@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_a_writer_killed_in_the_middle_leaves_nothing_under_the_final_name(
    tmp_path: Path, kind: str
):
    command = [sys.executable, "-c", KILLED_IN_THE_MIDDLE, str(tmp_path), kind]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "writing\n"), ended.stderr
    store = Storage(str(tmp_path))
    left = files_below(tmp_path)
    assert left
    assert all(TEMPORARY_PREFIX in name for name in left)
    assert store.listing("raw") == {}
    store.sweep(["", "raw"])
    assert files_below(tmp_path) == set()


def test_sweeping_leaves_committed_files(tmp_path: Path):
    store = Storage(str(tmp_path))
    store.commit_bytes("raw/a.bin", b"x")
    folder = tmp_path / f"{TEMPORARY_PREFIX}{'a' * 32}"
    folder.mkdir()
    (folder / "spool").write_bytes(b"x")
    (tmp_path / f"raw/{TEMPORARY_PREFIX}{'1' * 32}").write_bytes(b"x")
    store.sweep(["", "raw"])
    assert files_below(tmp_path) == {"raw/a.bin"}
    assert list(tmp_path.iterdir()) == [tmp_path / "raw"]


def test_sweeping_leaves_names_of_others_and_corpora_in_folders_of_this_one(tmp_path: Path):
    store = Storage(str(tmp_path))
    ours = f"{TEMPORARY_PREFIX}{'0' * 32}"
    others = {".partial-notes", ".partial-my_notes", f"raw/{ours}.txt", f"other/{ours}"}
    for name in (*others, f"dead_letters/crawl/{ours}"):
        store.commit_bytes(name, b"x")
    store.sweep(["", "raw", "dead_letters/crawl"])
    assert files_below(tmp_path) == others


def test_scratch_is_gone_afterwards_even_if_the_work_fails(store: Storage):
    folders: list[Path] = []

    def work() -> None:
        with store.scratch() as scratch:
            folders.append(scratch)
            (scratch / "spool").write_bytes(b"x")
            raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        work()
    assert not folders[0].exists()


def test_committed_files_have_the_permissions_that_the_umask_grants(tmp_path: Path):
    before = os.umask(0o007)
    try:
        Storage(str(tmp_path)).commit_bytes("a.bin", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o660


def test_ranges_come_in_the_order_asked_for(store: Storage, tmp_path: Path):
    store.commit_bytes("raw/a.bin", b"0123456789")
    store.commit_bytes("raw/b.bin", b"abcdefghij")
    elsewhere = tmp_path / "elsewhere.bin"
    elsewhere.write_bytes(b"ABCDEFGHIJ")
    ranges = [
        ("raw/b.bin", 8, 2),
        (str(elsewhere), 1, 2),
        ("raw/a.bin", 0, 3),
        (f"file://{elsewhere}", 0, 1),
        ("raw/b.bin", 0, 0),
        ("raw/b.bin", 0, 1),
    ]
    assert store.read_ranges(ranges) == [b"ij", b"BC", b"012", b"A", b"", b"a"]


def test_the_end_of_a_file_is_read_and_a_short_file_whole(store: Storage):
    store.commit_bytes("a.bin", b"0123456789")
    assert [store.read_end("a.bin", length) for length in (3, 10, 11)] == [
        b"789",
        b"0123456789",
        b"0123456789",
    ]
    with pytest.raises(FileNotFoundError):
        store.read_end("gone.bin", 3)


@pytest.mark.parametrize(("offset", "length"), [(8, 3), (10, 1), (50, 5)])
def test_a_range_past_the_end_says_so(store: Storage, offset: int, length: int):
    store.commit_bytes("raw/a.bin", b"0123456789")
    with pytest.raises(CorpusError, match=rf"raw/a\.bin: ends before byte {offset + length}; "):
        store.read_ranges([("raw/a.bin", 0, 1), ("raw/a.bin", offset, length)])


def test_a_range_of_a_missing_file_says_so(store: Storage):
    with pytest.raises(CorpusError, match=r"raw/gone\.tar: a file that was referenced is gone"):
        store.read_ranges([("raw/gone.tar", 0, 1)])


class Strict(MemoryFileSystem):
    """Answers as object stores do: a range past the end is an error, and so are bad days."""

    protocol = "strict"
    store: dict[str, Any] = {}  # noqa: RUF012 (fsspec's own way to keep files)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_) -> bytes:
        if path.endswith("flaky"):
            raise OSError(5, "bad day")
        if end is not None and end > self.size(path):
            raise RuntimeError("416 Requested Range Not Satisfiable")
        return super().cat_file(path, start, end)


def test_a_stores_own_error_for_a_short_file_is_understood():
    fsspec.register_implementation("strict", Strict, clobber=True)
    store = Storage("strict://corpus")
    store.commit_bytes("a.bin", b"0123456789")
    store.commit_bytes("flaky", b"0123456789")
    with pytest.raises(CorpusError, match="ends before byte 11"):
        store.read_ranges([("a.bin", 4, 7)])
    with pytest.raises(OSError, match="bad day"):
        store.read_ranges([("flaky", 4, 2)])


def test_a_pickled_store_opens_the_same_corpus(store: Storage):
    store.commit_bytes("a.bin", b"x")
    assert pickle.loads(pickle.dumps(store)).read("a.bin") == b"x"


def test_the_root_may_end_in_a_slash(tmp_path: Path):
    Storage(f"{tmp_path}/").commit_bytes("a.bin", b"x")
    assert (tmp_path / "a.bin").exists()
