"""Heads on embeddings; expected values by their published formulae, written out in numpy."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from filters.scorer import Batch, Device, ScorerError
from filters.scores.heads import AESTHETIC, NSFW, Layout, read_head
from filters.scores.registry import make_scorer
from schemas.score_config import AestheticScore, ClipModel, NsfwScore
from schemas.store.checkpoint import CheckpointError, read_checkpoint

Tensors = dict[str, NDArray[np.float64]]


def embeddings(width: int, count: int = 5) -> NDArray[np.float32]:
    drawn = np.random.default_rng(0).normal(size=(count, width))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def tensors_of(path: Path) -> Tensors:
    return {
        name: each.double().numpy() for name, each in read_checkpoint(str(path)).tensors.items()
    }


def linear(tensors: Tensors, prefix: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x @ tensors[f"{prefix}weight"].T + tensors[f"{prefix}bias"]


def linear_head(tensors: Tensors, x: NDArray[np.float64]) -> NDArray[np.float64]:
    return linear(tensors, "", x)


def improved_mlp(tensors: Tensors, x: NDArray[np.float64]) -> NDArray[np.float64]:
    for number in (0, 2, 4, 6, 7):
        x = linear(tensors, f"layers.{number}.", x)
    return x


def laion_l14(tensors: Tensors, x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = (x - tensors["norm.mean"]) / np.sqrt(tensors["norm.variance"])
    for number in (1, 2, 3):
        x = np.maximum(linear(tensors, f"linear_{number}.", x), 0)
    return 1 / (1 + np.exp(-linear(tensors, "linear_4.", x)))


def laion_h14(tensors: Tensors, x: NDArray[np.float64]) -> NDArray[np.float64]:
    for number in (0, 3, 6, 9, 12):
        x = np.maximum(linear(tensors, f"layers.{number}.", x), 0)
    return linear(tensors, "layers.16.", linear(tensors, "layers.15.", x))


@pytest.mark.parametrize(
    ("name", "width", "layouts", "formula"),
    [
        ("linear", 768, AESTHETIC, linear_head),
        ("mlp", 768, AESTHETIC, improved_mlp),
        ("l14", 768, NSFW, laion_l14),
        ("h14", 1024, NSFW, laion_h14),
    ],
)
def test_a_published_head_computes_its_formula(
    name: str,
    width: int,
    layouts: Sequence[Layout],
    formula: Callable[[Tensors, NDArray[np.float64]], NDArray[np.float64]],
    heads: dict[str, Path],
) -> None:
    x = embeddings(width)
    found = read_head(str(heads[name]), "", layouts)(x)
    expected = formula(tensors_of(heads[name]), x.astype(np.float64)).squeeze(1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.dtype == np.float32
    assert len(set(found.tolist())) == len(found)


def test_a_value_does_not_depend_on_the_batch(heads: dict[str, Path]) -> None:
    head, x = read_head(str(heads["mlp"]), "", AESTHETIC), embeddings(768)
    assert head(x[::-1].copy()).tolist() == head(x).tolist()[::-1]
    assert head(x[3:4]).tolist() == head(x).tolist()[3:4]


def test_nan_stays_nan_for_the_caller_to_name_the_image(heads: dict[str, Path]) -> None:
    x = embeddings(768)
    x[1] = np.nan
    for name, layouts in (("mlp", AESTHETIC), ("l14", NSFW)):
        found = read_head(str(heads[name]), "", layouts)(x)
        assert np.isnan(found).tolist() == [False, True, False, False, False]


def test_an_embedding_that_is_not_of_length_1_is_refused(heads: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=r"expected length 1, got 1\.0\d"):
        read_head(str(heads["mlp"]), "", AESTHETIC)(embeddings(768) * np.float32(1.01))


def test_a_head_that_a_scorer_does_not_know_is_refused(heads: dict[str, Path]) -> None:
    for name, layouts in (("h14", AESTHETIC), ("mlp", NSFW), ("l14", AESTHETIC)):
        with pytest.raises(CheckpointError, match="unknown layout"):
            read_head(str(heads[name]), "", layouts)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": torch.zeros(2, 768), "bias": torch.zeros(2)}, "expected linear head"),
        ({"weight": torch.zeros(1, 768), "bias": torch.zeros(2)}, "of no linear layer"),
        ({"weight": torch.zeros(768), "bias": torch.zeros(1)}, "of no linear layer"),
        ({"weight": torch.zeros(1, 768)}, "unknown layout"),
        ({"other": torch.zeros(1)}, r"head\.safetensors: unknown layout \['other'\]"),
    ],
)
def test_tensors_of_another_shape_are_refused(
    tensors: dict[str, torch.Tensor], message: str, tmp_path: Path
) -> None:
    save_file(tensors, tmp_path / "head.safetensors")
    with pytest.raises(CheckpointError, match=message):
        read_head(str(tmp_path / "head.safetensors"), "", AESTHETIC)


def test_a_head_whose_pickle_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": print, "bias": print}, tmp_path / "head.pth")
    with pytest.raises(CheckpointError, match="unsafe"):
        read_head(str(tmp_path / "head.pth"), "", AESTHETIC)


def test_another_sha256_is_refused(heads: dict[str, Path]) -> None:
    with pytest.raises(CheckpointError, match=rf"sha256 is \w+, expected {'0' * 64}"):
        read_head(str(heads["mlp"]), "0" * 64, AESTHETIC)


def batch(found: NDArray[np.float32], yahoo: Sequence[float] = ()) -> Batch:
    """A batch whose embeddings by any CLIP are given."""
    keys = [str(number) for number in range(len(found))]
    prepared = yahoo or [None] * len(found)
    return Batch(keys=keys, texts=keys, prepared=prepared, embeddings=lambda clip: found)


def test_the_aesthetic_score_is_the_head_s(heads: dict[str, Path]) -> None:
    config = AestheticScore(score="aesthetic", name="looks", head=str(heads["mlp"]))
    found = make_scorer(config, Device()).score(batch(embeddings(768)))
    expected = read_head(str(heads["mlp"]), "", AESTHETIC)(embeddings(768))
    assert np.asarray(found["looks"]).tolist() == expected.tolist()


def test_a_head_for_another_clip_is_refused(heads: dict[str, Path]) -> None:
    config = AestheticScore(
        score="aesthetic", head=str(heads["mlp"]), clip=ClipModel(model="ViT-B-32")
    )
    with pytest.raises(ScorerError, match=r"reads embeddings of 768 values, CLIP ViT-B-32.* 512"):
        make_scorer(config, Device()).score(batch(embeddings(512)))


@pytest.mark.parametrize(("vote", "together"), [("max", np.max), ("mean", np.mean)])
def test_voters_on_nsfw_are_stored_and_vote(
    vote: str,
    together: Callable[..., NDArray[np.float32]],
    heads: dict[str, Path],
    tmp_path: Path,
) -> None:
    other = tensors_of(heads["l14"])
    other["linear_4.bias"] = other["linear_4.bias"] + 3
    save_file({k: torch.tensor(v) for k, v in other.items()}, tmp_path / "other.safetensors")
    laion = [
        {"voter": "laion", "head": str(path)}
        for path in (heads["l14"], tmp_path / "other.safetensors")
    ]
    voters = [{"voter": "open_nsfw"}, *laion]
    config = NsfwScore.model_validate({"score": "nsfw", "voters": voters, "vote": vote})
    yahoo = [0.1, 0.9, 0.2, np.nan, 0.99]
    found = make_scorer(config, Device()).score(batch(embeddings(768), yahoo))
    names = ["nsfw_open_nsfw", "nsfw_laion_1", "nsfw_laion_2"]
    assert list(found) == ["nsfw", *names]
    expected = laion_l14(tensors_of(heads["l14"]), embeddings(768).astype(np.float64)).squeeze(1)
    np.testing.assert_allclose(found["nsfw_laion_1"], expected, atol=1e-5)
    votes = np.stack([np.asarray(found[name]) for name in names])
    np.testing.assert_array_equal(found["nsfw"], together(votes, axis=0))
    assert np.isnan(found["nsfw"]).tolist() == [False, False, False, True, False]
    assert (np.asarray(found["nsfw_laion_1"]) < np.asarray(found["nsfw_laion_2"])).all()
