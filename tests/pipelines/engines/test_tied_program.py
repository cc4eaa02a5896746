"""A tied program ends with who started it, and is otherwise itself."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from pipelines.engines.tied_program import tied

DRIVER = """
import subprocess, time
from pipelines.engines.tied_program import tied
program = subprocess.Popen(tied(["sh", "-c", "echo here; exec sleep 60"]), stdout=subprocess.PIPE)
program.stdout.readline()  # it has become a shell
print(program.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def driver() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, text=True) as it:
        yield it
        it.kill()


def test_it_ends_when_its_starter_is_killed(driver: subprocess.Popen[str]):
    assert driver.stdout is not None
    program = psutil.Process(int(driver.stdout.readline()))
    family = [program, *program.children()]
    assert len(family) == 2
    driver.kill()  # a zombie until somebody waits for it
    assert psutil.wait_procs(family, timeout=20)[1] == []


def test_its_output_and_exit_code_are_its_own():
    done = subprocess.run(tied(["sh", "-c", "echo out; exit 7"]), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (7, "out\n")


def test_a_signal_reaches_it_and_its_watcher_goes():
    with subprocess.Popen(tied(["sleep", "60"])) as started:
        program = psutil.Process(started.pid)
        while not (watchers := program.children()):
            pass
        while program.name() != "sleep":
            pass
        started.send_signal(signal.SIGINT)
        assert started.wait(20) == -signal.SIGINT
        assert psutil.wait_procs(watchers, timeout=20)[1] == []
