"""What can happen to a build under way: which process is killed how, and when.

Moments are told by what the corpus shows, not by a clock: a side-car that is committed, or the mark
of a shard that is begun. Everything is drawn from a seed.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from corpus import ROOT, Corpus

FOLDERS = ("sources", "raw", "signals", "selection", "captions", "tokens", "shards")
BEGUN = (".attempts/measure", ".attempts/vq_tokens", ".attempts/shard")
SHARDS = 4
TIMEOUT_S = 800


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When so many files lie in a folder of the corpus."""

    folder: str
    files: int

    def has_come(self, out: Path) -> bool:
        return len(list(out.joinpath(self.folder).glob("[!.]*[0-9]*"))) >= self.files

    def __str__(self) -> str:
        return f"{self.folder}>={self.files}"


def draw_moment(draw: random.Random, folders: Sequence[str] = (*FOLDERS, *BEGUN)) -> Moment:
    folder = draw.choice(list(folders))
    return Moment(folder=folder, files=1 if folder in BEGUN else draw.randint(1, SHARDS - 1))


def start(corpus: Corpus, *words: str) -> subprocess.Popen[str]:
    """Start a build as the head of a process group."""
    return subprocess.Popen(
        [*corpus.command(), *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait(build: subprocess.Popen[str], family: Sequence[psutil.Process] = ()) -> tuple[int, str]:
    """Wait for a build; return its exit code and what it said.

    Nothing of it may outlive it: neither what it has started by now, nor the `family` of before.
    """
    family = {*family, *descendants(build)}
    try:
        said, _ = build.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(build.pid, signal.SIGKILL)
        raise
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive, f"processes outlive the build: {alive}"
    return build.returncode, said


def wait_for(moment: Moment, build: subprocess.Popen[str], out: Path) -> bool:
    """Wait until a moment has come; return False if the build ended before."""
    until = time.monotonic() + TIMEOUT_S
    while build.poll() is None:
        if moment.has_come(out):
            return True
        assert time.monotonic() < until, f"{moment} never came"
        time.sleep(0.002)
    return False


def descendants(build: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        return psutil.Process(build.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def fork_servers(build: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the server that the pool's workers are forked from."""
    return [p for p in _children(build.pid) if "forkserver" in _command(p)]


def pool_workers(build: subprocess.Popen[str]) -> list[psutil.Process]:
    return [p for server in fork_servers(build) for p in _children(server.pid)]


def isolated_children(build: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the children in which pool workers do what an earlier attempt died of."""
    servers = [p for worker in pool_workers(build) for p in _children(worker.pid)]
    return [p for server in servers for p in _children(server.pid)]


def beam_workers(build: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return Beam's own worker processes, of its multi-processing mode or beside the driver."""
    workers = ("sdk_worker_main", "SdkHarness")
    return [p for p in descendants(build) if any(word in _command(p) for word in workers)]


def of_the_cluster(word: str) -> list[psutil.Process]:
    """Return the processes of a Spark cluster that this process started, by a word of theirs."""
    return [p for p in psutil.Process().children(recursive=True) if word in _command(p)]


def kill_one(
    found: Callable[[], list[psutil.Process]], draw: random.Random, build: subprocess.Popen[str]
) -> bool:
    """Kill one of some processes as soon as there is one; False if the build ended before."""
    while build.poll() is None:
        if processes := sorted(found(), key=lambda process: process.pid):
            try:
                draw.choice(processes).kill()
            except psutil.NoSuchProcess:
                continue
            return True
        time.sleep(0.002)
    return False


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""
