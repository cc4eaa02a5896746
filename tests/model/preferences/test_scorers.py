"""Scorers of drawn images; CLIP is a tiny model of random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from simple_scorers import brightness
from tiny_clip import save_tiny_clip

from filters.scorer import Device, ScorerError
from filters.scores.clip_encoder import encoder
from model.preferences.scorers import scorer_plan
from schemas.score_config import AestheticScore, ClipModel, ClipScore
from schemas.store.checkpoint import CheckpointError

DARK, LIGHT = (Image.new("RGB", (20, 30), (grey,) * 3) for grey in (10, 240))


def test_any_callable_scores() -> None:
    score = scorer_plan("simple_scorers:brightness").load()
    assert score([DARK, LIGHT], ["", ""]) == brightness([DARK, LIGHT], ["", ""])
    with pytest.raises(ScorerError, match="expected MODULE:NAME"):
        scorer_plan("simple_scorers:gone").load()


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("brightness", {}, "expected clip, aesthetic or MODULE:NAME"),
        ("clip", {}, "expected weights"),
        ("clip", {"clip_weights": "openai", "head": "head.pth"}, "a head with aesthetic only"),
        ("aesthetic", {"clip_weights": "openai"}, "a head with aesthetic only"),
    ],
)
def test_plans_that_make_no_sense_are_refused(
    kind: str, fields: dict[str, str], message: str
) -> None:
    with pytest.raises(ScorerError, match=message):
        scorer_plan(kind, **fields)


def test_a_plan_knows_its_files_by_their_content(tmp_path: Path) -> None:
    head = tmp_path / "head.pth"
    head.write_bytes(b"one")
    plan = scorer_plan("aesthetic", clip_weights="openai", head=str(head))
    before = plan.pinned()
    head.write_bytes(b"other")
    assert plan.pinned().identity() != before.identity()
    assert before.name == before.identity()[0] == "aesthetic ViT-L-14 openai head.pth"
    assert str(tmp_path) not in str(before.identity())


def test_a_plan_is_of_the_same_settings_as_a_recipe() -> None:
    clip = ClipModel(model="bundled", weights="")
    assert scorer_plan("clip", clip_model="bundled").config == ClipScore(clip=clip)
    found = scorer_plan("aesthetic", clip_model="ViT-B-32", clip_weights="openai", head="h.pth")
    clip = ClipModel(model="ViT-B-32", weights="openai")
    assert found.config == AestheticScore(score="aesthetic", clip=clip, head="h.pth")


@pytest.mark.slow
def test_clip_gives_the_cosine_of_image_and_prompt(tmp_path: Path) -> None:
    model = f"local-dir:{save_tiny_clip(tmp_path / 'clip')}"
    prompts = ["a dark square", "a light square"]
    scores = scorer_plan("clip", clip_model=model).load()([DARK, LIGHT], prompts)
    made = encoder(ClipModel(model=model, weights=""), Device())
    images = made.embed_images([made.prepare(image) for image in (DARK, LIGHT)])
    assert scores == pytest.approx(np.diag(images @ made.embed_texts(prompts).T), abs=1e-5)
    assert scores[0] != scores[1]


@pytest.mark.slow
def test_a_head_rates_clip_s_embeddings(tmp_path: Path) -> None:
    model = f"local-dir:{save_tiny_clip(tmp_path / 'clip', width=12)}"
    heads = {width: torch.nn.Linear(width, 1) for width in (12, 5)}
    for width, head in heads.items():
        torch.save(head.state_dict(), tmp_path / f"{width}.pth")
    plans = {
        width: scorer_plan("aesthetic", clip_model=model, head=str(tmp_path / f"{width}.pth"))
        for width in heads
    }
    made = encoder(ClipModel(model=model, weights=""), Device())
    images = made.embed_images([made.prepare(image) for image in (DARK, LIGHT)])
    expected = heads[12](torch.from_numpy(images)).squeeze(1).tolist()
    assert plans[12].load()([DARK, LIGHT], ["", ""]) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ScorerError, match=r"5\.pth reads embeddings of 5 values.* returns 12"):
        plans[5].load()


@pytest.mark.slow
def test_a_model_that_is_not_there_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(ScorerError, match="CLIP"):
        scorer_plan("clip", clip_model=f"local-dir:{tmp_path}").load()
    (tmp_path / "head.pth").write_bytes(b"damaged")
    model = f"local-dir:{save_tiny_clip(tmp_path / 'clip')}"
    with pytest.raises(CheckpointError, match=r"head\.pth: damaged"):
        scorer_plan("aesthetic", clip_model=model, head=str(tmp_path / "head.pth")).load()
