"""train-clip, run as a user runs it, on a few images and a tiny network."""

import json
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch

from filters.scores.bundled_clip import CONFIG, WEIGHTS
from model.clip_training.network import ClipSizes
from pipelines.cli.main import main

TINY = ClipSizes(
    embed_dim=16,
    image_size=32,
    image_layers=(1, 1, 1, 1),
    image_width=2,
    text_width=16,
    text_heads=2,
    text_layers=1,
)
WORDS = ("fox", "house", "tree", "boat", "apple", "chair", "lamp", "road", "moon", "bird")


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.training.train_clip.ClipSizes", lambda: TINY)


@pytest.fixture
def listed(tmp_path: Path, picture: Callable[..., bytes]) -> Path:
    rows = []
    for number, word in enumerate(WORDS):
        (tmp_path / f"{number}.png").write_bytes(picture(number, (64, 64)))
        rows.append({"path": f"{number}.png", "title": word, "text": "", "tags": [], "author": ""})
    (tmp_path / "broken.png").write_bytes(b"no image")
    rows.append({**rows[0], "path": "broken.png"})
    path = tmp_path / "images.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def train(listed: Path, out: Path, *more: str) -> int:
    fixed = ["--steps", "2", "--batch", "4", "--held-out", "0.4", "--threads", "1"]
    return main(["train-clip", "--list", str(listed), "--out", str(out), *fixed, *more])


def test_a_clip_comes_out_that_open_clip_loads_with_its_card(
    listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert train(listed, out, "--licence", "public domain") == 0
    assert "image to text R@10 100.0%" in capsys.readouterr().out  # of fewer than ten
    card = (out / "README.md").read_text()
    assert "1 could not be used: `images/broken.png` (not_an_image" in card
    assert "2 steps" in card
    assert "public domain" in card
    assert f"vargpt-corpus train-clip --list {listed}" in card
    numbers = json.loads((out / "training.json").read_text())
    held = numbers["held_out"]
    assert 0 < len(held) < 10
    assert numbers["evaluation"]["title"]["images"] == len(held)
    assert (out / CONFIG).exists()
    model, _ = open_clip.create_model_from_pretrained(f"local-dir:{out}")
    words = open_clip.get_tokenizer(f"local-dir:{out}")(["a fox"])
    assert model.encode_text(words, normalize=True).norm().item() == pytest.approx(1.0)


def test_the_same_command_makes_the_same_weights_and_does_no_step_twice(
    listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = []
    for name in ("a", "b", "a"):
        assert train(listed, tmp_path / name) == 0
        weights.append((tmp_path / name / WEIGHTS).read_bytes())
    assert weights[0] == weights[1] == weights[2]
    assert train(listed, tmp_path / "a", "--lr", "0.5") == 1
    assert "made with another plan, network or other images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--held-out", "0"], "too few to hold 0% out"),
        (["--list", "gone.jsonl"], "--list gone.jsonl: FileNotFoundError"),
        (["--teacher", "no/such/folder"], "--teacher no/such/folder: "),
        (["--out", "gs://bucket/folder"], "expected a local folder"),
    ],
)
def test_what_cannot_be_done_is_said(
    more: list[str], message: str, listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(listed, tmp_path / "out", *more) == 1
    assert message in capsys.readouterr().err


def test_a_list_given_twice_is_refused(
    listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(listed, tmp_path / "out", "--list", str(listed)) == 1
    assert "an image is listed twice, or two lists have one name" in capsys.readouterr().err


def test_a_list_without_words_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"path": "a.png", "title": "", "text": "", "tags": [], "author": ""}
    (tmp_path / "empty.jsonl").write_text(f"{json.dumps(row)}\n")
    assert train(tmp_path / "empty.jsonl", tmp_path / "out") == 1
    assert "no image has a title or a tag" in capsys.readouterr().err


@pytest.fixture(autouse=True)
def threads() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_images_of_which_none_can_be_read_are_named(
    listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for image in tmp_path.glob("*.png"):
        image.write_bytes(b"no image")
    assert train(listed, tmp_path / "out") == 1
    assert "none of 11 images can be read, such as images/0.png: not" in capsys.readouterr().err
