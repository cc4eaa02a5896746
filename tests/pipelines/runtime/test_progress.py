import io
import re
import sys
import threading
from pathlib import Path

import pytest

import pipelines.runtime.progress
from pipelines.runtime.progress import progress
from schemas.store.storage import Storage


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def wait_for(pattern: str, stream: io.StringIO) -> None:
    tick = threading.Event()
    for _ in range(500):
        if re.search(pattern, stream.getvalue()):
            return
        tick.wait(0.01)
    raise AssertionError(f"{pattern} not in {stream.getvalue()!r}")


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()], ids=["terminal", "file"])
def test_shards_that_appear_or_change_are_counted(
    stream: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(pipelines.runtime.progress, "POLL_S", 0.01)
    monkeypatch.setattr(pipelines.runtime.progress, "LOG_S", 0.01)
    store = Storage(str(tmp_path))
    store.commit_bytes("raw/00000.parquet", b"of an earlier build")
    todo = {f"0000{number}.parquet": 50 for number in range(3)}
    with progress(store, "crawl", "raw", todo):
        wait_for(r"crawl .* 0/3", stream)
        store.commit_bytes("raw/00001.parquet", b"new")
        wait_for(r"1/3 .* img/s", stream)
        store.commit_bytes("raw/00000.parquet", b"changed")
        wait_for(r"2/3 ", stream)
    assert stream.getvalue().endswith("\r\033[K\r" if stream.isatty() else "img/s\n")


def test_an_error_of_the_stage_passes(tmp_path: Path) -> None:
    with pytest.raises(KeyError), progress(Storage(str(tmp_path)), "crawl", "raw", {"a": 1}):
        raise KeyError
