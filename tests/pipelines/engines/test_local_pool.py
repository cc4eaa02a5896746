import os
import signal
import subprocess
import sys
import time
from multiprocessing import forkserver
from pathlib import Path

import psutil
import pytest
from deadly import die_after_progress, die_once, visible_gpu

from pipelines.engines.local_pool import default_processes, local_pool, run_each, submit

BUSY = """
import sys, time
from pipelines.engines.local_pool import local_pool, submit

if __name__ == "__main__":
    with local_pool(2):
        for _ in range(2):
            submit(time.sleep, 120)
        submit(print)
        print("ready", flush=True)
        time.sleep(120)
"""


@pytest.mark.parametrize("processes", [0, 1])
def test_one_process_means_that_the_caller_does_it(processes: int):
    with local_pool(processes):
        assert submit(os.getpid) is None


def test_calls_run_in_other_processes_and_errors_come_back():
    with local_pool(2):
        calls = [submit(os.getpid) for _ in range(6)]
        fails = submit(os.stat, "/nowhere")
        assert fails is not None
        pids = {call.result() for call in calls if call}
        assert os.getpid() not in pids
        assert 1 <= len(pids) <= 2
        with pytest.raises(FileNotFoundError):
            fails.result()
    assert submit(os.getpid) is None


def test_there_is_one_process_a_gpu_which_sees_no_other(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,3")
    assert submit(os.getpid, gpus=1) is None  # a Beam worker with one GPU uses it itself
    with local_pool(2):
        calls = [submit(visible_gpu, 0.3, gpus=2) for _ in range(4)]
        seen = {call.result() for call in calls if call}
    assert {gpu for _, gpu in seen} == {"5", "3"}
    assert len(seen) == 2


def test_calls_that_were_lost_with_a_worker_are_made_again(tmp_path: Path):
    marks = [tmp_path / name for name in "abcd"]
    for mark in marks[::3]:
        mark.touch()
    with local_pool(2):
        assert list(run_each(die_once, map(str, marks))) == ["done"] * len(marks)
        assert not any(mark.exists() for mark in marks)
        call = submit(os.getpid)
        assert call is not None
        assert call.result() != os.getpid()


def test_workers_may_die_often_as_long_as_they_make_progress(tmp_path: Path):
    with local_pool(2):
        assert list(run_each(die_after_progress, [str(tmp_path / "diary")])) == [6]


def test_work_goes_on_when_the_server_that_forks_workers_is_killed(tmp_path: Path):
    with local_pool(2):
        assert list(run_each(abs, [-1])) == [1]
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
        assert list(run_each(abs, range(-9, 0))) == list(range(9, 0, -1))


def test_there_is_at_least_one_core():
    assert default_processes() >= 1


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_die_with_a_build_that_is_killed_or_interrupted(how: signal.Signals, tmp_path):
    script = tmp_path / "busy.py"
    script.write_text(BUSY)
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as build:
        assert build.stdout is not None
        assert build.stdout.readline() == b"ready\n"
        workers = wait_for_workers(psutil.Process(build.pid))
        if how == signal.SIGINT:  # as a terminal does: to the whole group
            os.killpg(build.pid, how)
        else:
            build.kill()
        build.wait(20)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []


def wait_for_workers(build: psutil.Process) -> list[psutil.Process]:
    """Wait for the fork server, the resource tracker, and two workers below the first."""
    until = time.monotonic() + 60
    while len(found := build.children(recursive=True)) < 4:
        assert time.monotonic() < until, found
        time.sleep(0.05)
    return found
