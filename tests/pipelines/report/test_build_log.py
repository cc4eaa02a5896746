"""The log of builds, also one that was damaged since."""

import json
from pathlib import Path

import pytest

from pipelines.report.build_log import (
    LOG,
    BuildLog,
    StageTime,
    last_stage,
    log_warnings,
    read_log,
    stage_times,
)
from pipelines.runtime.claims import Claims
from pipelines.thresholds.changes import finished
from schemas.store.storage import Storage


@pytest.fixture
def logged(tmp_path: Path) -> BuildLog:
    """The log of a build that has come to `select`."""
    store = Storage(str(tmp_path))
    log = BuildLog(store=store, claims=Claims(store, {}), shards=3)
    log.begin()
    log.stage("score", 3, 2.5, "", job="score", job_seconds=2.5, waited=0.5)
    log.stage("select", 3, 1.0, "", job="select", job_seconds=1.0)
    return log


def damage(log: BuildLog, change) -> bytes:
    path = Path(log.store.root) / LOG
    path.write_bytes(change(path.read_bytes()))
    return path.read_bytes()


def test_a_last_line_that_is_cut_is_passed_over_and_not_added_to(logged: BuildLog) -> None:
    damage(logged, lambda body: body[:-20])
    [said] = log_warnings(logged.store)
    assert said.startswith(f"{LOG}: line 3 is cut short, and passed over: b'{{")
    assert stage_times(logged.store) == {"score": StageTime(2.5, 0.5)}
    assert last_stage(logged.store) == "score"
    assert not finished(logged.store, "select")
    logged.stage("dedup", 3, 1.0, "")
    assert [line["stage"] for line in read_log(logged.store)] == ["begun", "score", "dedup"]
    assert [*log_warnings(logged.store)] == []


def test_a_whole_last_line_without_its_end_is_kept(logged: BuildLog) -> None:
    damage(logged, lambda body: body[:-1])
    assert [*log_warnings(logged.store)] == []
    logged.stage("dedup", 3, 1.0, "")
    assert last_stage(logged.store) == "dedup"
    assert len(read_log(logged.store)) == 4


@pytest.mark.parametrize(
    "line",
    [b"\xff\xfe", b"[1]", b"3", b"", b"[" * 100_000, b"{}", json.dumps({"stage": 3}).encode()],
    ids=str.split("bytes list number empty deep nothing types"),
)
def test_a_damaged_line_is_named_and_stays(logged: BuildLog, line: bytes) -> None:
    damage(logged, lambda body: body.replace(b"\n", b"\n" + line + b"\n", 1))
    [said] = log_warnings(logged.store)
    assert said.startswith(f"{LOG}: line 2 is not a line that a build writes")
    assert [*stage_times(logged.store)] == ["score", "select"]
    logged.stage("dedup", 3, 1.0, "")
    assert last_stage(logged.store) == "dedup"
    assert len([*log_warnings(logged.store)]) == 1


def test_without_a_log_nothing_is_known(tmp_path: Path) -> None:
    store = Storage(str(tmp_path))
    assert (read_log(store), last_stage(store), stage_times(store)) == ([], "", {})
    assert [*log_warnings(store)] == []
