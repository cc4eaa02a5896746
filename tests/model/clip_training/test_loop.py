"""Both parts of the training, on ten images of one colour each and a tiny network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.clip_training.both_towers import BothTowers, ClipPlan
from model.clip_training.network import ClipSizes, make_clip, text_tokenizer
from model.clip_training.teacher import Lessons
from model.clip_training.text_tower import TextPlan, TextTower, embed_images, places
from model.image_text.batches import Batches
from model.image_text.loop import PartTrainer
from model.image_text.pairs import Pair
from model.image_text.weights import weights_of
from model.tokenizer_training.state import STATE, DivergedError, StateError, read_state

COLOURS = ("red", "green", "blue", "black", "white", "grey", "pink", "brown", "orange", "purple")
PAIRS = [Pair(name=f"{c}.png", title=f"{c} square", text="", tags=()) for c in COLOURS]
RGB = np.random.RandomState(0).randint(0, 256, (10, 3))
IMAGES = [np.full((40, 40, 3), rgb, np.uint8) for rgb in RGB]
PIXELS = {"mean": 0.75, "std": 0.33}
PLAN = ClipPlan(steps=4, batch=5, save_every=2, lesson=3)
LESSONS = Lessons(["red fox", "green tree", "sky"], torch.eye(3))
Train = Callable[..., dict[str, torch.Tensor]]


@pytest.fixture
def train(tiny: ClipSizes, tiny_folder: Path) -> Train:
    tokenizer = text_tokenizer(tiny_folder)

    def run(folder: Path, plan: ClipPlan = PLAN, **more: Any) -> dict[str, torch.Tensor]:
        batches = Batches(PAIRS, plan.batch, plan.seed)
        pixels = PIXELS | {"std": more.pop("std", PIXELS["std"])}
        clip = make_clip(tiny, plan.seed)
        both = BothTowers(clip, tokenizer, plan, batches, IMAGES, lessons=LESSONS, **pixels)
        fixed = {"state": folder / STATE, "fingerprint": "a"}
        return PartTrainer(both, plan, **fixed | more).run()

    return run


def test_a_killed_run_ends_with_the_same_weights(train: Train, tmp_path: Path) -> None:
    def dying(figures: Any, seconds: float) -> None:
        raise KeyboardInterrupt

    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = train(tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.image_text.loop.REPORT_EVERY", 3)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "killed", report=dying)
    assert read_state(tmp_path / "killed" / STATE).step == 2
    killed = train(tmp_path / "killed")
    assert read_state(tmp_path / "killed" / STATE).step == 4
    assert whole.keys() == killed.keys()
    assert all(torch.equal(whole[key], killed[key]) for key in whole)
    fresh = train(tmp_path, ClipPlan(steps=2, batch=5, lesson=3))
    assert not all(torch.equal(whole[key], fresh[key]) for key in whole)


def test_losses_fall_and_the_teacher_s_layer_is_not_of_the_clip(
    train: Train, tmp_path: Path, tiny: ClipSizes
) -> None:
    found: list[dict[str, float]] = []
    plan = ClipPlan(steps=60, batch=10, lesson=3, lr=1e-2, save_every=1000)
    weights = train(tmp_path, plan, report=lambda figures, seconds: found.append(figures))
    assert found[-1]["loss"] < found[0]["loss"] * 0.8
    assert found[-1]["lesson"] < 0.1  # of about 2 at the start
    assert weights_of("clip", weights).keys() == make_clip(tiny, 0).state_dict().keys()


def test_the_state_of_another_run_is_refused(train: Train, tmp_path: Path) -> None:
    train(tmp_path)
    with pytest.raises(StateError, match="made with another plan, network or other images"):
        train(tmp_path, fingerprint="b")


def test_a_loss_that_is_not_finite_stops_the_run(train: Train, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="is nan"):
        train(tmp_path, std=0.0)


def test_a_batch_has_each_subject_once_and_an_epoch_all() -> None:
    doubled = [*PAIRS, *(Pair(name=f"2{p.name}", title=p.title, text="", tags=()) for p in PAIRS)]
    batches = Batches(doubled, 5, 0)
    assert (batches.subjects, batches.steps_an_epoch) == (10, 2)
    captions = [caption for step in range(2) for caption in batches.captions(step)[1]]
    assert all(sum(colour in caption for caption in captions) == 1 for colour in COLOURS)
    assert batches.captions(0)[1] != batches.captions(2)[1]
    first, again = (batches.images(IMAGES * 2, [3, 14], 7, 32) for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)


def test_the_text_tower_learns_the_places_of_words_and_the_image_tower_stays(
    tiny: ClipSizes, tiny_folder: Path, tmp_path: Path
) -> None:
    clip = make_clip(tiny, 0)
    before = {key: x.clone() for key, x in clip.visual.state_dict().items()}
    image_NC = embed_images(clip, IMAGES, **PIXELS)
    torch.testing.assert_close(image_NC.norm(dim=1), torch.ones(10))
    taught = Lessons([pair.subject for pair in PAIRS] + ["ruby"], torch.eye(10)[[*range(10), 0]])
    targets_TC = places(PAIRS, image_NC, taught)
    plan = TextPlan(steps=40, batch=5, words=11, lr=1e-2, warmup=2)
    tokenizer, batches = text_tokenizer(tiny_folder), Batches(PAIRS, plan.batch, plan.seed)
    part = TextTower(clip, tokenizer, plan, batches, image_NC, taught, targets_TC)
    found: list[dict[str, float]] = []
    weights = weights_of(
        "clip",
        PartTrainer(
            part,
            plan,
            state=tmp_path / STATE,
            fingerprint="a",
            report=lambda losses, seconds: found.append(losses),
        ).run(),
    )
    assert found[-1]["words"] < found[0]["words"]
    assert all(torch.equal(x, weights[f"visual.{key}"]) for key, x in before.items())
    clip.load_state_dict(weights)
    with torch.no_grad():
        ruby = clip.encode_text(tokenizer(["ruby"]), normalize=True)
    assert (ruby @ targets_TC[:10].T).argmax() == 0


def test_a_word_s_place_is_at_the_images_of_similar_subjects() -> None:
    image_NC = torch.eye(4)[[0, 0, 1, 2]]
    pairs = [PAIRS[0], Pair(name="b", title="Red square", text="", tags=()), *PAIRS[1:3]]
    texts = [*{pair.subject: None for pair in pairs}, "ruby", "teal"]
    mixed = torch.nn.functional.normalize(torch.tensor([0.0, 1.0, 1.0]), dim=0)
    taught = Lessons(texts, torch.cat([torch.eye(3), torch.eye(3)[:1], mixed[None]]))
    red, green, blue, ruby, teal = places(pairs, image_NC, taught)
    torch.testing.assert_close(red, ruby)
    assert red.argmax() == 0
    assert teal[1] == pytest.approx(teal[2].item())
    assert teal[0] < 0 < teal[1]
    assert green.argmax() == 1
    assert blue.argmax() == 2
