"""`vargpt-corpus train` by its command line."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from training_shards import ShardMaker, keys_of

from model.tokenizers.load import load_tokenizer
from model.training.checkpoint import checkpoints, read_state
from model.training.journal import read_steps
from pipelines.cli.main import main

ROOT = Path(__file__).parents[3]
SETS = (
    "mix={t2i: 1}",
    "batch=2",
    "micro_batch=2",
    "save_every=2",
    "log_every=1",
    "prompts=[a cat]",
)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["sft256", "--set", "bacth=2"], "bacth: unknown key; did you mean batch? Allowed: "),
        (["sft256", "--size", "huge"], "size: expected 'tiny', 'mini', 'small' or 'v1_1'"),
        (["sft256"], "no manifest.json; expected the folder of a built corpus"),
        (["sft256", "--prompts", "/dev/null"], "expected one prompt per line, found none"),
        (["sft256", "--device", "abacus"], "--device abacus: "),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["train", *words, "--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    assert main(given) == 1
    assert told in capsys.readouterr().err


def test_a_gpu_that_is_asked_for_and_not_there_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cuda", "cuda:1"):
        given = ["train", "sft256", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
        assert main([*given, "--device", device]) == 1
        told = f"vargpt-corpus: train: --device {device} asks for a GPU, and torch "
        assert capsys.readouterr().err.startswith(told)


@pytest.fixture(scope="module")
def square(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random codes of the bundled BSQ tokenizer; tests must not change it."""
    maker = ShardMaker(tokenizer=load_tokenizer("infinity_bsq", preset="bundled"))
    return maker.write(tmp_path_factory.mktemp("corpora") / "square", {"t2i": [6]})


TINY = ("resolution=256", "precision=fp32", "batch=2", "sample_every=0", "checkpointing=false")


def train(data: Path, out: Path, *words: str) -> list[str]:
    sets = [word for each in TINY for word in ("--set", each)]
    return [
        "train",
        "sft256",
        "--data",
        str(data),
        "--out",
        str(out),
        "--steps",
        "1",
        *sets,
        *words,
    ]


def test_a_training_begins_as_the_model_that_it_is_given(square: Path, tmp_path: Path) -> None:
    assert main(train(square, tmp_path / "first", "--size", "tiny")) == 0
    assert main(train(square, tmp_path / "next", "--init", str(tmp_path / "first"))) == 0
    state = read_state(checkpoints(tmp_path / "next")[-1])
    assert state.recipe["size"] == "tiny"


def test_what_is_not_there_to_begin_with_is_said_in_a_line(
    square: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(train(square, tmp_path / "out", "--init", str(tmp_path / "none"))) == 1
    assert f"--init {tmp_path}/none: " in capsys.readouterr().err
    nowhere = f"text_tokenizer={tmp_path}/none"
    assert main(train(square, tmp_path / "out", "--size", "tiny", "--set", nowhere)) == 1
    said = capsys.readouterr().err
    assert said.startswith("vargpt-corpus: ")
    assert f"{tmp_path}/none" in said


@pytest.fixture
def quiet() -> Iterator[None]:
    """Loggers as a process of the command line begins with them."""
    root, ours = logging.getLogger(), logging.getLogger("model")
    before = root.level
    root.setLevel(logging.CRITICAL)
    ours.setLevel(logging.NOTSET)
    yield
    root.setLevel(before)


@pytest.mark.usefixtures("quiet")
def test_a_sample_that_is_skipped_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Cut(ShardMaker):
        def members(self, subset: str, key: str) -> dict[str, bytes]:
            return {**super().members(subset, key), "json": b"cut"}

    maker = Cut(tokenizer=load_tokenizer("infinity_bsq", preset="bundled"))
    data = maker.write(tmp_path / "cut", {"t2i": [2]})
    assert main(train(data, tmp_path / "out", "--size", "tiny")) == 1
    assert f"skipped {keys_of(data, 't2i')[0]} of " in caplog.text


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
