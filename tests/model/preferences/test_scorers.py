"""Scorers; CLIP by a tiny model of random weights, saved as open_clip saves them."""

import json
from pathlib import Path

import pytest
import torch
from model.preferences.head import read_head
from PIL import Image
from safetensors.torch import save_file
from simple_scorers import brightness, constant

from model.preferences.scorers import (
    AestheticScorer,
    ClipScorer,
    ScorerError,
    ScorerPlan,
    imported_scorer,
    scored,
)
from schemas.store.checkpoint import CheckpointError

WIDTH = 12
DARK, LIGHT = (Image.new("RGB", (20, 30), (grey,) * 3) for grey in (10, 240))


def mlp_head(width: int = WIDTH) -> torch.nn.Module:
    """The layers of improved-aesthetic-predictor, narrower."""
    module = torch.nn.Module()
    layers = [(width, 10), None, (10, 8), None, (8, 6), None, (6, 4), (4, 1)]
    module.layers = torch.nn.Sequential(
        *(torch.nn.Linear(*size) if size else torch.nn.Dropout(0.2) for size in layers)
    )
    return module.eval()


def test_an_mlp_head_rates_as_its_own_layers_do(tmp_path: Path) -> None:
    torch.manual_seed(0)
    head = mlp_head()
    torch.save(head.state_dict(), tmp_path / "head.pth")
    x = torch.randn(3, WIDTH)
    torch.testing.assert_close(read_head(str(tmp_path / "head.pth"))(x), head.layers(x))


def test_a_linear_head_rates_as_its_layer_does(tmp_path: Path) -> None:
    layer = torch.nn.Linear(WIDTH, 1)
    save_file(layer.state_dict(), tmp_path / "head.safetensors")
    x = torch.randn(3, WIDTH)
    torch.testing.assert_close(read_head(str(tmp_path / "head.safetensors"))(x), layer(x))


@pytest.mark.parametrize(
    "tensors",
    [
        {"layers.0.weight": torch.zeros(4, WIDTH)},
        {"weight": torch.zeros(2, WIDTH), "bias": torch.zeros(2)},
        {"other": torch.zeros(1)},
    ],
)
def test_a_head_of_another_layout_is_refused(tmp_path: Path, tensors) -> None:
    save_file(tensors, tmp_path / "head.safetensors")
    with pytest.raises(CheckpointError, match=r"head\.safetensors"):
        read_head(str(tmp_path / "head.safetensors"))


def test_a_head_whose_pickle_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": print}, tmp_path / "head.pth")
    with pytest.raises(CheckpointError, match="unsafe"):
        read_head(str(tmp_path / "head.pth"))


def test_any_callable_scores() -> None:
    scorer = ScorerPlan(kind="simple_scorers:brightness").load()
    assert scored(scorer, [DARK, LIGHT], ["", ""]) == brightness([DARK, LIGHT], ["", ""])
    with pytest.raises(ScorerError, match="expected MODULE:NAME"):
        imported_scorer("simple_scorers:gone")
    with pytest.raises(ScorerError, match="returned 1 scores, expected 2"):
        scored(lambda images, prompts: constant(images[:1], prompts), [DARK, LIGHT], ["", ""])


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "brightness"},
        {"kind": "clip"},
        {"kind": "clip", "clip_weights": "openai", "head": "head.pth"},
        {"kind": "aesthetic", "clip_weights": "openai"},
    ],
)
def test_plans_that_make_no_sense_are_refused(fields: dict[str, str]) -> None:
    with pytest.raises(
        ScorerError, match=r"expected clip, aesthetic or|expected weights|a head with aesthetic"
    ):
        ScorerPlan(**fields)


def test_a_plan_knows_its_files_by_their_content(tmp_path: Path) -> None:
    (tmp_path / "head.pth").write_bytes(b"one")
    fields = {"kind": "aesthetic", "clip_weights": "openai", "head": str(tmp_path / "head.pth")}
    before = ScorerPlan(**fields).pinned()
    (tmp_path / "head.pth").write_bytes(b"other")
    assert ScorerPlan(**fields).pinned().identity() != before.identity()
    assert before.name == "aesthetic ViT-L-14 openai head.pth"


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP of random weights in open_clip's own format: config and safetensors."""
    open_clip = pytest.importorskip("open_clip")
    folder = tmp_path_factory.mktemp("clip")
    config = {
        "embed_dim": WIDTH,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 8,
            "heads": 2,
            "layers": 1,
        },
    }
    preprocess = {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3}
    written = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(written))
    torch.manual_seed(0)
    model = open_clip.CLIP(**config)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.mark.slow
def test_clip_gives_the_cosine_of_image_and_prompt(clip_folder: Path) -> None:
    scorer = ScorerPlan(kind="clip", clip_model=f"local-dir:{clip_folder}").load()
    assert isinstance(scorer, ClipScorer)
    scores = scorer([DARK, LIGHT], ["a dark square", "a light square"])
    assert scores == pytest.approx(scorer([DARK, LIGHT], ["a dark square", "a light square"]))
    both = scorer.embed([DARK, LIGHT])
    torch.testing.assert_close(both.norm(dim=1), torch.ones(2))
    words = scorer._model.encode_text(scorer._tokenizer(["a dark square"]))[0]
    expected = torch.nn.functional.cosine_similarity(both[0], words, dim=0)
    assert scores[0] == pytest.approx(expected.item(), abs=1e-5)
    assert scores[0] != scores[1]


@pytest.mark.slow
def test_a_head_rates_clip_s_embeddings(clip_folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    head = mlp_head()
    torch.save(head.state_dict(), tmp_path / "head.pth")
    name = f"local-dir:{clip_folder}"
    fields = {"kind": "aesthetic", "clip_model": name, "head": str(tmp_path / "head.pth")}
    scorer = ScorerPlan(**fields).load()
    assert isinstance(scorer, AestheticScorer)
    expected = head.layers(scorer._clip.embed([DARK, LIGHT])).squeeze(1)
    assert scorer([DARK, LIGHT], ["", ""]) == pytest.approx(expected.tolist(), abs=1e-5)
    torch.save(mlp_head(5).state_dict(), tmp_path / "head.pth")
    with pytest.raises(ScorerError, match="reads embeddings of width 5"):
        ScorerPlan(**fields).load()


@pytest.mark.slow
def test_a_clip_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScorerError, match="CLIP"):
        ClipScorer(f"local-dir:{tmp_path}", "")
    with pytest.raises(ScorerError, match="CLIP no-such-model"):
        ClipScorer("no-such-model", "openai")
