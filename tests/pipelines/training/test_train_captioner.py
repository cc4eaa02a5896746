"""train-captioner, run as a user runs it, on a few images and a tiny network."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from model.captioner_training.evaluate import FREQUENT, NEAREST, OURS
from model.captioner_training.export import captions
from model.captioner_training.network import WEIGHTS, CaptionerSizes
from pipelines.cli.main import main

TINY = CaptionerSizes(
    stem=8, stages=(8, 16, 32), blocks=(1, 1, 1), width=32, heads=2, decoder_layers=1
)
WORDS = ("fox", "house", "tree", "boat", "apple", "chair", "lamp", "road", "moon", "bird")


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.training.train_captioner.CaptionerSizes", lambda: TINY)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def listed(tmp_path: Path, picture: Callable[..., bytes]) -> Path:
    rows = []
    for number in range(40):
        title = f"{'big' if number % 2 else 'small'} {WORDS[number % 10]}"
        (tmp_path / f"{number}.png").write_bytes(picture(number, (64, 64)))
        rows.append({"path": f"{number}.png", "title": title, "text": "", "tags": []})
    (tmp_path / "broken.png").write_bytes(b"no image")
    rows.append({**rows[0], "path": "broken.png"})
    path = tmp_path / "images.jsonl"
    path.write_text("".join(f"{json.dumps({**row, 'author': ''})}\n" for row in rows))
    return path


def train(listed: Path, out: Path, *more: str) -> int:
    fixed = ["--steps", "2", "--batch", "4", "--held-out", "0.4", "--threads", "1"]
    return main(["train-captioner", "--list", str(listed), "--out", str(out), *fixed, *more])


def test_a_captioner_comes_out_that_transformers_loads_with_its_card(
    listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert train(listed, out, "--licence", "public domain") == 0
    assert f"new words: {NEAREST}: word F1 0." in capsys.readouterr().out
    card = (out / "README.md").read_text()
    assert "1 could not be used: `images/broken.png` (not_an_image" in card
    assert "2 steps of 4 images" in card
    assert "public domain" in card
    assert f"vargpt-corpus train-captioner --list {listed}" in card
    numbers = json.loads((out / "training.json").read_text())
    held = numbers["held_out"]
    assert all(held.values())
    assert sum(map(len, held.values())) < 40
    lines = numbers["evaluation"]["new words"]
    assert {line["method"] for line in lines} == {OURS, FREQUENT, NEAREST}
    loaded = AutoModelForImageTextToText.from_pretrained(out, local_files_only=True)
    assert loaded.config.model_type == "vision-encoder-decoder"
    assert len(captions(out, [np.zeros((64, 64, 3), np.uint8)])) == 1


def test_the_same_command_makes_the_same_weights_and_does_no_step_twice(
    listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        assert train(listed, tmp_path / name) == 0
    weights = (tmp_path / "a" / WEIGHTS).read_bytes()
    assert weights == (tmp_path / "b" / WEIGHTS).read_bytes()
    assert train(listed, tmp_path / "a") == 0
    assert weights == (tmp_path / "a" / WEIGHTS).read_bytes()
    assert load_file(tmp_path / "a" / WEIGHTS)
    assert train(listed, tmp_path / "a", "--lr", "0.5") == 1
    assert "made with another plan, network or other images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--held-out", "0"], "too few to hold 0% out"),
        (["--list", "gone.jsonl"], "--list gone.jsonl: FileNotFoundError"),
        (["--clip", "local-dir:no/such/folder"], "no/such/folder"),
        (["--out", "gs://bucket/folder"], "expected a local folder"),
    ],
)
def test_what_cannot_be_done_is_said(
    more: list[str], message: str, listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(listed, tmp_path / "out", *more) == 1
    assert message in capsys.readouterr().err
