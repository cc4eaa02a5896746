"""train-tokenizer, run as a user runs it, on a handful of images and a tiny network."""

import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from model.tokenizer_training.export import CHECKPOINT, PICTURE
from model.tokenizer_training.loop import Trainer
from model.tokenizer_training.state import STATE
from model.tokenizers import load
from model.tokenizers.sizes import BsqConfig, VarConfig
from pipelines.cli.main import main
from schemas.store.checkpoint import read_checkpoint
from schemas.store.lock import build_lock
from schemas.store.storage import Storage

MULT = (1, 1, 1, 1, 1)
TINY = {
    "infinity_bsq": BsqConfig(bits=8, ch=16, ch_mult=MULT, num_res_blocks=1, norm_groups=0),
    "var_vqvae": VarConfig(
        vocab=32, z_channels=8, ch=16, ch_mult=MULT, num_res_blocks=1, norm_groups=0
    ),
}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for kind, config in TINY.items():
        monkeypatch.setitem(load.PRESETS, kind, {**load.PRESETS[kind], "tiny": config})
    threads = torch.get_num_threads()
    monkeypatch.setattr("model.tokenizer_training.loop.REPORT_EVERY", 2)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def data(tmp_path: Path, picture: Callable[..., bytes]) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(10):
        (folder / f"{number}.png").write_bytes(picture(number, (64, 64)))
    return folder


def train(kind: str, data: Path, out: Path, *more: str) -> int:
    arguments = [kind, "--data", str(data), "--out", str(out), "--preset", "tiny"]
    fixed = ["--held-out", "0.2", "--threads", "1", "--phase", "64x2:2", "--phase", "128x1:2"]
    return main(["train-tokenizer", *arguments, *fixed, *more])


@pytest.mark.parametrize("kind", TINY)
def test_a_tokenizer_comes_out_with_its_card(kind: str, data: Path, tmp_path: Path) -> None:
    (data / "broken.png").write_bytes(b"no image")
    out = tmp_path / "out"
    assert train(kind, data, out, "--licence", "public domain") == 0
    make = load.make_infinity_bsq if kind == "infinity_bsq" else load.make_var_vqvae
    tokenizer = make(TINY[kind], read_checkpoint(str(out / CHECKPOINT)))  # type: ignore[arg-type]
    assert tokenizer.encode(torch.zeros(1, 3, 256, 256)).values_BL.shape[0] == 1
    card = (out / "README.md").read_text()
    assert "| 256 px |" in card
    assert "4 steps" in card
    assert "public domain" in card
    assert f"vargpt-corpus train-tokenizer {kind} --data {data}" in card
    assert "1 could not be used: `broken.png` (not_an_image" in card
    assert (out / PICTURE).stat().st_size > 100


@pytest.mark.slow
@pytest.mark.parametrize("kind", TINY)
def test_a_command_that_was_killed_ends_with_the_same_file(
    kind: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(kind, data, tmp_path / "whole")
    step = Trainer._train

    def dying(self: Trainer, *arguments: Any) -> None:
        if self.step == 3:
            raise KeyboardInterrupt
        step(self, *arguments)
        self._save()

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train", dying)
        assert train(kind, data, tmp_path / "killed") == 130
    assert not (tmp_path / "killed" / CHECKPOINT).exists()
    assert train(kind, data, tmp_path / "killed") == 0
    whole, killed = (tmp_path / name / CHECKPOINT for name in ("whole", "killed"))
    assert killed.read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_the_same_images_in_tars_make_the_same_file(data: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "00000.tar", "w") as tar:
        for path in data.iterdir():
            tar.add(path, path.name)
    assert train("infinity_bsq", data, tmp_path / "a") == 0
    assert train("infinity_bsq", tmp_path / "0*.tar", tmp_path / "b") == 0
    assert (tmp_path / "b" / CHECKPOINT).read_bytes() == (tmp_path / "a" / CHECKPOINT).read_bytes()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--phase", "64:4"], "phase '64:4': expected SIDExBATCH:STEPS"),
        (["--phase", "100x1:4"], "no schedule for crops of 100 px"),
        (["--phase", "512x1:4"], "expected crops of up to 256 px"),
        (["--preset", "huge"], "unknown preset 'huge'"),
        (["--perceptual", "no.such:thing"], "expected MODULE:NAME"),
        (["--perceptual", "math:nothing"], "expected MODULE:NAME"),
        (["--perceptual", "torch:sub"], "expected a scalar tensor, got [2, 3, 64, 64]"),
        (["--held-out", "0"], "too few to hold 0% out"),
        (["--phase", "64x0:4"], "phase 64x0:4: expected 1 or more of each"),
        (["--device", "abacus"], "--device abacus: "),
        (["--lr", "-1"], "learning rate -1.0: expected 0 or more"),
        (["--out", "gs://bucket/folder"], "expected a local folder"),
    ],
)
def test_what_cannot_be_done_is_said(
    more: list[str], message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("infinity_bsq", data, tmp_path / "out", *more) == 1
    assert message in capsys.readouterr().err


def test_a_state_of_another_run_is_not_gone_on_with(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("infinity_bsq", data, tmp_path / "out")
    assert (tmp_path / "out" / STATE).exists()
    assert train("infinity_bsq", data, tmp_path / "out", "--lr", "0.5") == 1
    assert "made with another plan, tokenizer or other images" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_stops_the_command(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("infinity_bsq", data, tmp_path / "out", "--lr", "1e30") == 1
    assert "the loss is nan; nothing was saved. The same command" in capsys.readouterr().err


def test_a_folder_serves_one_training_at_a_time(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with build_lock(Storage(str(tmp_path / "out"))):
        assert train("infinity_bsq", data, tmp_path / "out") == 1
    assert "another build holds" in capsys.readouterr().err


@pytest.mark.slow
def test_a_further_loss_is_imported_and_weighs_in(data: Path, tmp_path: Path) -> None:
    assert train("infinity_bsq", data, tmp_path / "plain") == 0
    further = ["--perceptual", "torch.nn.functional:smooth_l1_loss"]
    assert train("infinity_bsq", data, tmp_path / "more", *further) == 0
    plain, more = (tmp_path / name / CHECKPOINT for name in ("plain", "more"))
    assert plain.read_bytes() != more.read_bytes()
    assert "smooth_l1_loss" in (tmp_path / "more" / "README.md").read_text()


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pipelines.cli.main import main\n"
        "try: main(['train-tokenizer', '--help'])\n"
        "finally: assert not {'torch', 'numpy', 'apache_beam'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
