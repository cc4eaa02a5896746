import io
import re
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.runtime.progress import Work, progress
from pipelines.runtime.sidecar import Counts, make_origin, write_sidecar
from schemas.store.storage import Storage

FILES = [f"0000{number}.parquet" for number in range(3)]
CRAWL = Work(stage="crawl", folder="raw", files=FILES)
MEASURE = Work(stage="measure", folder="signals", files=FILES)


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


def write(store: Storage, path: str, rows: int) -> None:
    """Write a side-car that says it was made of so many rows."""
    table = pa.table({"key": [f"{row:032x}" for row in range(rows)]})
    origin = make_origin("x", "f", table, Counts(rows_in=rows, kept=rows))
    write_sidecar(store, path, table, origin)


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()], ids=["terminal", "file"])
def test_shards_that_appear_or_change_are_counted_in_every_stage(
    stream: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    store = Storage(str(tmp_path))
    write(store, "raw/00000.parquet", 1)
    told: list[tuple[str, str, int]] = []

    def on_file(stage: str, file: str, counts: Counts) -> None:
        told.append((stage, file, counts.rows_in))

    with progress(store, [CRAWL, MEASURE], on_file, pause_s=0.01):
        wait_for(r"crawl 0/3, measure 0/3 ", stream)
        write(store, "raw/00001.parquet", 5)
        wait_for(r"crawl 1/3, measure 0/3 ", stream)
        write(store, "signals/00001.parquet", 4)
        wait_for(r"crawl 1/3, measure 1/3 .* img/s", stream)
        write(store, "raw/00000.parquet", 7)
        wait_for(r"crawl 2/3, measure 1/3 ", stream)
        write(store, "raw/00002.parquet", 3)
        wait_for(r"[\r\n]measure 1/3 ", stream)  # crawl is at its end
    assert stream.getvalue().endswith("\r\033[K\r" if stream.isatty() else "img/s\n")
    assert sorted(told) == [
        ("crawl", "00000.parquet", 7),
        ("crawl", "00001.parquet", 5),
        ("crawl", "00002.parquet", 3),
        ("measure", "00001.parquet", 4),
    ]


def test_an_error_of_the_stage_passes(tmp_path: Path) -> None:
    with pytest.raises(KeyError), progress(Storage(str(tmp_path)), [CRAWL]):
        raise KeyError
