"""The loop, on ten images of one colour each and a tiny network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.clip_training.loop import Batches, ClipPlan, ClipTrainer, clip_weights
from model.clip_training.network import ClipSizes, make_clip, text_tokenizer
from model.clip_training.pairs import Pair
from model.clip_training.teacher import Lessons
from model.tokenizer_training.state import STATE, DivergedError, StateError, read_state

COLOURS = ("red", "green", "blue", "black", "white", "grey", "pink", "brown", "orange", "purple")
PAIRS = [Pair(name=f"{c}.png", title=f"{c} square", text="", tags=()) for c in COLOURS]
IMAGES = [
    np.full((40, 40, 3), rgb, np.uint8) for rgb in np.random.RandomState(0).randint(0, 256, (10, 3))
]
PLAN = ClipPlan(steps=4, batch=5, warmup=1, save_every=2, lesson=3)
Train = Callable[..., dict[str, torch.Tensor]]


@pytest.fixture
def train(tiny: ClipSizes, tiny_folder: Path) -> Train:
    tokenizer = text_tokenizer(tiny_folder)
    lessons = Lessons(["red fox", "green tree", "sky"], torch.eye(3))

    def run(folder: Path, plan: ClipPlan = PLAN, **more: Any) -> dict[str, torch.Tensor]:
        fixed = {"mean": 0.75, "std": 0.33, "fingerprint": "a", "lessons": lessons}
        clip = make_clip(tiny, plan.seed)
        batches = Batches(PAIRS, IMAGES, plan)
        return ClipTrainer(clip, tokenizer, plan, batches, folder=folder, **fixed | more).run()

    return run


def test_a_killed_run_ends_with_the_same_weights(train: Train, tmp_path: Path) -> None:
    def dying(figures: Any, seconds: float) -> None:
        raise KeyboardInterrupt

    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = train(tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.clip_training.loop.REPORT_EVERY", 3)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "killed", report=dying)
    assert read_state(tmp_path / "killed" / STATE).step == 2
    killed = train(tmp_path / "killed")
    assert read_state(tmp_path / "killed" / STATE).step == 4
    assert whole.keys() == killed.keys()
    assert all(torch.equal(whole[key], killed[key]) for key in whole)
    fresh = train(tmp_path, ClipPlan(steps=2, batch=5, warmup=1, lesson=3))
    assert not all(torch.equal(whole[key], fresh[key]) for key in whole)


def test_a_loss_falls_and_the_teacher_s_layer_is_not_of_the_clip(
    train: Train, tmp_path: Path, tiny: ClipSizes
) -> None:
    found: list[dict[str, float]] = []
    plan = ClipPlan(steps=60, batch=10, warmup=5, lesson=3, lr=1e-2, save_every=1000)
    weights = train(tmp_path, plan, report=lambda figures, seconds: found.append(figures))
    assert found[-1]["loss"] < found[0]["loss"] * 0.8
    assert found[-1]["lesson"] < found[0]["lesson"] * 0.8
    assert clip_weights(weights).keys() == make_clip(tiny, 0).state_dict().keys()


def test_the_state_of_another_run_is_refused(train: Train, tmp_path: Path) -> None:
    train(tmp_path)
    with pytest.raises(StateError, match="made with another plan, network or other images"):
        train(tmp_path, fingerprint="b")


def test_a_loss_that_is_not_finite_stops_the_run(train: Train, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="is nan"):
        train(tmp_path, std=0.0)


def test_a_batch_has_each_subject_once_and_an_epoch_all(tiny: ClipSizes) -> None:
    doubled = [*PAIRS, *(Pair(name=f"2{p.name}", title=p.title, text="", tags=()) for p in PAIRS)]
    batches = Batches(doubled, IMAGES * 2, PLAN)
    assert (batches.subjects, batches.steps_an_epoch) == (10, 2)
    captions = [caption for step in range(2) for caption in batches(step, 32)[1]]
    assert all(sum(colour in caption for caption in captions) == 1 for colour in COLOURS)
    assert batches(0, 32)[1] != batches(2, 32)[1]
    torch.testing.assert_close(batches(3, 32)[0], batches(3, 32)[0], rtol=0, atol=0)
