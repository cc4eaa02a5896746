"""`vargpt-corpus train` by its command line."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model.training.checkpoint import checkpoints
from model.training.journal import read_steps
from pipelines.cli import main

ROOT = Path(__file__).parents[2]
SETS = ("batch=2", "micro_batch=2", "save_every=2", "log_every=1", "prompts=[a cat]")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["sft-256"], "stage 'sft-256': unknown; did you mean sft256?"),
        (["sft256", "--set", "bacth=2"], "bacth: unknown key; did you mean batch? Allowed: "),
        (["sft256", "--size", "huge"], "size: Input should be 'tiny', 'mini', 'small' or 'v1_1'"),
        (["sft256"], "no manifest.json; expected the folder of a built corpus"),
        (["sft256", "--prompts", "/dev/null"], "expected a prompt a line, found none"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["train", *words, "--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    assert main(given) == 1
    assert told in capsys.readouterr().err


def command(data: Path, out: Path) -> list[str]:
    words = [word for each in SETS for word in ("--set", each)]
    train = [sys.executable, "-m", "pipelines", "train", "demo", "--data", str(data)]
    return [*train, "--out", str(out), "--steps", "6", "--threads", "1", *words]


@pytest.mark.slow
def test_killed_and_started_again_it_ends_as_the_unbroken_run(
    demo_corpus: Path, tmp_path: Path
) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    out = tmp_path / "killed"
    running = subprocess.Popen(command(demo_corpus, out), cwd=ROOT, env=env)
    while running.poll() is None and not checkpoints(out):
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL, "it ended before it could be killed"
    for place in (out, tmp_path / "unbroken"):
        done = subprocess.run(
            command(demo_corpus, place), cwd=ROOT, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "samples/step-00000006.png" in done.stdout
    killed, unbroken = (
        [line["loss"] for line in read_steps(place)] for place in (out, tmp_path / "unbroken")
    )
    assert len(unbroken) == 6
    assert killed == unbroken
