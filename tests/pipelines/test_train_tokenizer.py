"""train-tokenizer, run as a user runs it, on a handful of images and a tiny network."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from model.tokenizer_training.export import CHECKPOINT, PICTURE
from model.tokenizer_training.loop import STATE, Trainer
from model.tokenizers import load
from model.tokenizers.bsq_network import BsqConfig
from model.tokenizers.checkpoint import read_checkpoint
from model.tokenizers.var_network import VarConfig
from pipelines.cli import main

MULT = (1, 1, 1, 1, 1)
TINY = {
    "infinity_bsq": BsqConfig(bits=8, ch=16, ch_mult=MULT, num_res_blocks=1, norm_groups=0),
    "var_vqvae": VarConfig(
        vocab=32, z_channels=8, ch=16, ch_mult=MULT, num_res_blocks=1, norm_groups=0
    ),
}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, config in TINY.items():
        monkeypatch.setitem(load.PRESETS, kind, {**load.PRESETS[kind], "tiny": config})
    threads = torch.get_num_threads()
    monkeypatch.setattr("model.tokenizer_training.loop.REPORT_EVERY", 2)
    yield  # type: ignore[misc]
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
    fixed = ["--held-out", "0.2", "--threads", "1", "--phase", "64x2:4", "--phase", "128x1:2"]
    return main(["train-tokenizer", *arguments, *fixed, *more])


@pytest.mark.parametrize(
    "kind", ["infinity_bsq", pytest.param("var_vqvae", marks=pytest.mark.slow)]
)
def test_a_tokenizer_comes_out_with_its_card(kind: str, data: Path, tmp_path: Path) -> None:
    (data / "broken.png").write_bytes(b"no image")
    out = tmp_path / "out"
    assert train(kind, data, out, "--licence", "public domain") == 0
    make = load.make_infinity_bsq if kind == "infinity_bsq" else load.make_var_vqvae
    tokenizer = make(TINY[kind], read_checkpoint(str(out / CHECKPOINT)))  # type: ignore[arg-type]
    assert tokenizer.encode(torch.zeros(1, 3, 256, 256)).values_BL.shape[0] == 1
    card = (out / "README.md").read_text()
    assert "| 256 px |" in card
    assert "6 steps" in card
    assert "public domain" in card
    assert "train-tokenizer" in card
    assert (out / PICTURE).stat().st_size > 100


@pytest.mark.slow
@pytest.mark.parametrize("kind", TINY)
@pytest.mark.parametrize("killed_after", [2, 5])
def test_a_run_that_was_killed_ends_with_the_same_weights(
    kind: str, killed_after: int, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(kind, data, tmp_path / "whole")
    step = Trainer._train

    class KilledError(Exception):
        pass

    def dying(self: Trainer, *arguments) -> None:
        if self.step == killed_after:
            raise KilledError
        step(self, *arguments)
        self._save()

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train", dying)
        with pytest.raises(KilledError):
            train(kind, data, tmp_path / "killed")
    train(kind, data, tmp_path / "killed")
    whole, killed = (tmp_path / name / CHECKPOINT for name in ("whole", "killed"))
    assert killed.read_bytes() == whole.read_bytes()


def test_training_draws_better(data: Path, tmp_path: Path) -> None:
    from model.tokenizer_training.sizes import Trainee
    from pipelines.training_images import TrainingImages, find_images

    trainee = Trainee(name="infinity_bsq", config=TINY["infinity_bsq"])
    from model.tokenizer_training.loop import Phase, Plan
    from model.tokenizer_training.objectives import LossWeights

    plan = Plan(phases=(Phase(crop=64, batch=4, steps=60),), lr=3e-3, warmup=5)
    trainer = Trainer(
        trainee.objective(LossWeights(), 0),
        plan,
        TrainingImages(images=find_images([str(data)]), side=64).batches,
        trainee.schedule,
        folder=tmp_path,
        fingerprint="f",
    )
    trainer.run()
    first, last = trainer.curve[:5], trainer.curve[-5:]
    gained = sum(line["psnr"] for line in last) / 5 - sum(line["psnr"] for line in first) / 5
    assert gained > 2  # dB


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--phase", "64:4"], "phase '64:4': expected SIDExBATCH:STEPS"),
        (["--phase", "100x1:4"], "no schedule for crops of 100 px"),
        (["--phase", "512x1:4"], "crops are of up to 256 px"),
        (["--preset", "huge"], "unknown preset 'huge'"),
        (["--perceptual", "no.such:thing"], "expected MODULE:NAME"),
        (["--held-out", "0"], "too few to hold 0% out"),
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
    assert "of another plan, tokenizer or other images" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_stops_and_keeps_the_state(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("infinity_bsq", data, tmp_path / "out", "--perceptual", "math:dist_nan") == 1
    assert "expected MODULE:NAME" in capsys.readouterr().err
    assert train("infinity_bsq", data, tmp_path / "out", "--lr", "1e30") == 1
    assert "the loss is" in capsys.readouterr().err
