import numpy as np
import pytest
import torch
import torch.nn.functional as F

from model.clip_training.evaluate import auc, chance, figures, retrieval

TITLES = 30


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_embeddings_that_match_find_everything() -> None:
    text_TC = unit(TITLES, 16)
    found = figures(text_TC.repeat(2, 1), text_TC, [*range(TITLES)] * 2)
    assert (found.images, found.titles, found.auc) == (2 * TITLES, TITLES, 1.0)
    assert found.image_to_text.r1 == found.text_to_image.r1 == 1.0


def test_embeddings_of_noise_find_as_much_as_chance() -> None:
    titles = np.arange(600) % 200
    found = figures(unit(600, 16), unit(200, 16, seed=1), titles)
    for side in (found.image_to_text, found.text_to_image):
        assert side.r10 == pytest.approx(side.chance_r10, rel=0.6)
    assert found.image_to_text.chance_r10 == pytest.approx(10 / 200)
    assert found.text_to_image.chance_r1 == pytest.approx(3 / 600)
    assert found.auc == pytest.approx(0.5, abs=0.03)


def test_equal_scores_are_no_success() -> None:
    found = retrieval(np.zeros((20, 20)), np.eye(20, dtype=bool))
    assert (found.r1, found.r10) == (0.0, 0.0)


def test_ranks_and_auc_are_those_of_counting() -> None:
    rng = np.random.RandomState(0)
    scores, right = rng.rand(15, 40).round(1), rng.rand(15, 40) < 0.1
    right[:, 0] = True
    first = [
        max(row[is_right]) > max(row[~is_right])
        for row, is_right in zip(scores, right, strict=True)
    ]
    assert retrieval(scores, right).r1 == pytest.approx(np.mean(first))
    own, other = scores[right], scores[~right]
    wins = [(a > b) + (a == b) / 2 for a in own for b in other]
    assert auc(own, other) == pytest.approx(np.mean(wins))


def test_chance_is_the_share_of_random_orders() -> None:
    rng = np.random.RandomState(0)
    hits = [rng.permutation(12)[:3].min() < 4 for _ in range(4000)]
    assert chance(3, 12, 4) == pytest.approx(np.mean(hits), abs=0.03)
