"""What is shipped: it loads as published checkpoints do, and its card says what it is."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file

from model.tokenizer_training.card import UNREADABLE_SHOWN, Facts
from model.tokenizer_training.export import CARD, CHECKPOINT, FIGURES, PICTURE, export, published
from model.tokenizer_training.objectives import LossWeights
from model.tokenizer_training.state import State, StateError, write_state
from model.tokenizer_training.trainee import Trainee
from model.tokenizers.bsq_network import plain_keys
from model.tokenizers.load import HIT_COUNTS
from schemas.store.checkpoint import CheckpointError

FACTS = Facts(
    data="discs", licence="none", command="vargpt-corpus ...", images=8, held_out=0.05,
    unreadable={f"{n}.png": "torn" for n in range(UNREADABLE_SHOWN + 4)},
    plan="64x4:60", machine="an abacus",
)  # fmt: skip


@pytest.fixture
def state(trainee: Trainee, tmp_path: Path) -> Path:
    """A state as a run of another fingerprint left it."""
    weights = trainee.objective(LossWeights(), 0).network.state_dict()
    path = tmp_path / "state.pt"
    curve = [{"step": 20.0, "loss": 0.5}]
    found = State(
        fingerprint="x", step=60, seconds=120, network=weights, averaged=weights, optimizer={},
        curve=curve,
    )  # fmt: skip
    write_state(path, found)
    return path


def test_a_state_of_any_fingerprint_becomes_a_checkpoint_with_its_card(
    state: Path,
    trainee: Trainee,
    discs: Callable[[int, int], NDArray[np.uint8]],
    tmp_path: Path,
) -> None:
    out = tmp_path / "deep" / "out"
    figures = export(state, trainee, discs(2, 256), FACTS, out)
    assert [(line.side, line.images) for line in figures] == [(256, 2), (128, 2)]
    assert {path.name for path in out.iterdir()} == {CHECKPOINT, PICTURE, FIGURES, CARD}
    card = (out / CARD).read_text()
    size = (out / CHECKPOINT).stat().st_size
    for said in (
        f"{size:,} bytes in float16", f"{figures[0].psnr:.2f} dB", "60 steps in 2 minutes on",
        "an abacus", "5% of the images", f"{UNREADABLE_SHOWN + 4} could not be used",
        "`0.png` (torn)", "and 4 more", "pixels alone", PICTURE, FIGURES,
    ):  # fmt: skip
        assert said in card
    numbers = json.loads((out / FIGURES).read_text())
    assert numbers["curve"] == [{"step": 20, "loss": 0.5}]
    assert len(numbers["unreadable"]) == UNREADABLE_SHOWN + 4
    assert numbers["evaluation"][0]["psnr"] == figures[0].psnr
    with Image.open(out / PICTURE) as picture:
        assert picture.size == (512, 512)


def test_figures_are_of_the_file_and_the_same_each_time(
    state: Path,
    trainee: Trainee,
    discs: Callable[[int, int], NDArray[np.uint8]],
    tmp_path: Path,
) -> None:
    facts = replace(FACTS, perceptual="some:network")
    first = export(state, trainee, discs(1, 256), facts, tmp_path / "a")
    again = export(state, trainee, discs(1, 256), facts, tmp_path / "b")
    assert first == again
    for name in (CHECKPOINT, PICTURE, FIGURES, CARD):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert "`some:network`" in (tmp_path / "a" / CARD).read_text()


def test_keys_are_those_of_the_published_files(trainee: Trainee) -> None:
    weights = trainee.objective(LossWeights(), 0).network.state_dict()
    found = published(trainee, weights)
    if trainee.name == "var_vqvae":
        assert found.keys() == weights.keys() - {HIT_COUNTS}
        return
    assert found["quantizer.lfq.mask"].tolist() == [128, 64, 32, 16, 8, 4, 2, 1]
    assert torch.equal(found["quantize.lfq.mask"], found["quantizer.lfq.mask"])
    assert "encoder.conv_in.conv.weight" in found
    assert plain_keys(found).keys() == weights.keys()


def test_shipped_weights_are_float16(
    state: Path,
    trainee: Trainee,
    discs: Callable[[int, int], NDArray[np.uint8]],
    tmp_path: Path,
) -> None:
    export(state, trainee, discs(1, 256), FACTS, tmp_path)
    tensors = load_file(tmp_path / CHECKPOINT)
    assert {x.dtype for key, x in tensors.items() if "mask" not in key} == {torch.float16}


def test_a_state_of_another_tokenizer_is_refused(
    state: Path, trainee: Trainee, discs: Callable[[int, int], NDArray[np.uint8]], tmp_path: Path
) -> None:
    wider = replace(trainee, config=replace(trainee.config, ch=24))
    with pytest.raises(CheckpointError):
        export(state, wider, discs(1, 256), FACTS, tmp_path)
    (tmp_path / "state.pt").write_bytes(b"torn")
    with pytest.raises(StateError):
        export(tmp_path / "state.pt", trainee, discs(1, 256), FACTS, tmp_path)
