"""The server that workers share, with a stand-in for vLLM: a real process with its API."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from chat_server import caption
from corpus import ROOT

from filters.captioner import Answer, Asked, EngineError
from pipelines.captions.shared_server import SharedServer
from pipelines.captions.vllm_server import VllmCaptioner, vllm_command
from schemas.caption_config import VllmEngine

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ends servers by Linux' prctl")

STAND_IN = ROOT / "tests/corpus/chat_server.py"
QUICK = {"first_pause_s": 0.02, "longest_pause_s": 0.2, "away_s": 5.0}
ASKED = Asked(digest="0" * 32, prompt="row 0", image=b"image", seed=0, max_new_tokens=50)

KEEPER, SERVER = "server_keeper.py", STAND_IN.name

# A worker: says what it is answered and by which server, then lives until it is killed.
WORKER = """
import json, sys
from test_vllm_server import ask, engine, server_of
worker = engine()
print(json.dumps([ask(worker), server_of(worker).port]), flush=True)
sys.stdin.readline()
"""

_engines: list[VllmCaptioner] = []  # that a test made


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for servers, and a program `vllm` in PATH."""
    program = tmp_path / "bin/vllm"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    while _engines:
        _engines.pop().close()
    assert until(lambda: not [*programs(tmp_path, KEEPER), *programs(tmp_path, SERVER)])


def engine(
    model: str = "m", *arguments: str, start_s: float = 30.0, model_sha256: str = ""
) -> VllmCaptioner:
    config = VllmEngine(
        engine="vllm",
        name="vlm",
        model=model,
        model_sha256=model_sha256,
        arguments=arguments,
        start_s=start_s,
        timeout_s=5,
    )
    _engines.append(VllmCaptioner(config, **QUICK))
    return _engines[-1]


def ask(engine: VllmCaptioner) -> str:
    (answer,) = engine.answers([ASKED])
    assert isinstance(answer, Answer)
    return answer.text


def server_of(engine: VllmCaptioner) -> SharedServer:
    assert engine._opened is not None
    return engine._opened[0]


def programs(place: Path, name: str) -> list[psutil.Process]:
    """Return the processes of a program that were started from a folder."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "environ"])
        if (process.info["environ"] or {}).get("TMPDIR") == str(place)
        and name in (Path(part).name for part in process.info["cmdline"] or ())
    ]


def until(is_true: Callable[[], bool], within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_engines_of_one_machine_share_a_server_that_ends_with_the_last(place: Path) -> None:
    first, second = engine(), engine()
    assert ask(first) == ask(second) == caption("row 0", b"image", 0)
    assert server_of(first).port == server_of(second).port
    server = programs(place, SERVER)[0]
    first.close()
    time.sleep(0.5)
    assert ask(second)
    second.close()
    assert until(lambda: not server.is_running())


def test_another_model_and_other_gpus_have_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [engine("m"), engine("other"), engine("m")]
    ask(asked[0])
    ask(asked[1])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    ask(asked[2])
    assert len({server_of(each).port for each in asked}) == 3


def test_a_server_that_is_killed_is_an_error_with_the_end_of_its_log(place: Path) -> None:
    asked = engine()
    ask(asked)
    programs(place, SERVER)[0].kill()
    with pytest.raises(EngineError, match=r"has ended; its log, .*:\nloading m, process \d+"):
        ask(asked)
    assert ask(asked)  # by another server


def test_a_server_that_does_not_start_is_an_error_at_once() -> None:
    begun = time.monotonic()
    with pytest.raises(EngineError, match=r"has ended(.|\n)*CUDA out of memory"):
        ask(engine("too-large", start_s=60))
    assert time.monotonic() - begun < 50  # not start_s


def test_a_keeper_that_is_killed_takes_its_server_along(place: Path) -> None:
    asked = engine()
    ask(asked)
    server = programs(place, SERVER)[0]
    server_of(asked)._keeper.kill()
    assert until(lambda: not server.is_running())
    with pytest.raises(EngineError, match="has ended"):
        ask(asked)


@pytest.mark.slow
def test_a_server_outlives_the_killed_worker_that_started_it(place: Path) -> None:
    workers = [start_worker(), start_worker()]
    ports = {told(worker)[1] for worker in workers}
    assert len(ports) == 1
    server = programs(place, SERVER)[0]
    os.kill(workers[0].pid, signal.SIGKILL)
    workers[0].wait()
    time.sleep(0.5)
    third = start_worker()
    assert told(third)[1] in ports
    for worker in (workers[1], third):
        assert server.is_running()
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    assert until(lambda: not server.is_running())


def start_worker() -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), str(STAND_IN.parent), str(Path(__file__).parent)])
    return subprocess.Popen(
        [sys.executable, "-c", WORKER],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def told(worker: subprocess.Popen[str]) -> tuple[str, int]:
    assert worker.stdout is not None
    text, port = json.loads(worker.stdout.readline())
    assert text == caption("row 0", b"image", 0)
    return text, port


def test_without_vllm_the_error_says_what_to_install(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(place))
    with pytest.raises(EngineError, match="pip install vllm"):
        ask(engine())


def test_the_command_serves_this_machine_alone(tmp_path: Path) -> None:
    config = VllmEngine(
        engine="vllm", name="vlm", model="a/b", arguments=("--max-model-len", "4096")
    )
    assert vllm_command("vllm", config, 8123)[1:] == [
        "serve",
        "a/b",
        *("--host", "127.0.0.1", "--port", "8123"),
        *("--served-model-name", "a/b"),
        *("--max-model-len", "4096"),
    ]
    assert VllmCaptioner(config).identity()["model"] == "a/b"


def test_a_folder_is_known_by_its_files_and_served_if_they_are_those(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "model.gguf").write_bytes(b"weights")
    first = engine(str(folder))
    sha256 = first.identity()["model"]
    (answer,) = first.answers([ASKED])
    assert isinstance(answer, Answer)
    assert answer.model == f"sha256:{sha256[:16]}"
    first.close()
    moved = folder.rename(tmp_path / "moved")
    assert engine(str(moved)).identity() == first.identity()
    (moved / "model.gguf").write_bytes(b"other weights")
    changed = engine(str(moved), model_sha256=sha256)
    assert changed.identity() == first.identity()
    with pytest.raises(EngineError, match=f"sha256 is .*, expected {sha256}"):
        ask(changed)


def test_a_folder_of_others_is_not_used(place: Path) -> None:
    top = place / f"vargpt-corpus-servers-{os.getuid()}"
    top.mkdir(mode=0o777)
    top.chmod(0o777)
    with pytest.raises(EngineError, match="is not a folder of this user alone"):
        ask(engine())
