"""Semantic duplicates of a corpus, against every row compared with every other."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tiny import Tiny, draw_images
from tiny_clip import save_tiny_clip

from pipelines.check_recipe import pin
from pipelines.dedup.semantic import least_product, to_points
from pipelines.verify.job import verify
from schemas.recipe import EarlierCorpus, Recipe
from schemas.recipe_file import RecipeError
from schemas.store.storage import Storage

IMAGES = 12


def embedded(tiny: Tiny, clip: Path, eps: float) -> Recipe:
    """Return a recipe that removes semantic duplicates only, by a CLIP."""
    model = {"model": f"local-dir:{clip}", "weights": ""}
    return tiny.recipe(
        rows_per_shard=5,
        score={"scorers": [{"score": "clip", "clip": model, "embedding": True}]},
        dedup={"phash_distance": None, "semantic": {"eps": eps}},
    )


def table(tiny: Tiny, folder: str) -> dict[str, dict[str, Any]]:
    """Return the rows of side-cars by key."""
    paths = sorted((tiny.out / folder).glob("0*.parquet"))
    return {row["key"]: row for path in paths for row in pq.read_table(path).to_pylist()}


def products(tiny: Tiny) -> tuple[list[str], np.ndarray]:
    """Return keys in the order of dedup, and the products of all pairs of embeddings."""
    signals, scores = table(tiny, "signals"), table(tiny, "scores")
    pixels = {key: row["width"] * row["height"] for key, row in signals.items()}
    keys = sorted(scores, key=lambda key: (-pixels[key], key))
    points = to_points(np.array([scores[key]["clip_embedding"] for key in keys]))
    wide = points.astype(np.float64)
    return keys, wide @ wide.T


def expected(tiny: Tiny, eps: float) -> dict[str, str]:
    """Map each removed key to the kept one: the first that is near enough."""
    keys, product = products(tiny)
    kept: list[int] = []
    removed: dict[str, str] = {}
    for number, key in enumerate(keys):
        near = [other for other in kept if product[number, other] >= least_product(eps)]
        if near:
            removed[key] = keys[near[0]]
        else:
            kept.append(number)
    return removed


def found(tiny: Tiny) -> dict[str, str]:
    """Map each key that dedup removed as a semantic duplicate to the kept one."""
    rows = table(tiny, "duplicates").values()
    assert {row["reason"] for row in rows} == {"", "semantic_duplicate"}
    return {row["key"]: row["kept_key"] for row in rows if row["reason"]}


def middle_eps(tiny: Tiny) -> float:
    """Return an eps that makes a third of the pairs near."""
    _, product = products(tiny)
    pairs = product[np.triu_indices(len(product), 1)]
    return float(1 - np.quantile(pairs, 2 / 3) / least_product(0))


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    tiny = Tiny(folder=tmp_path)
    draw_images(tmp_path / "images", range(IMAGES))
    return tiny


def test_near_images_are_removed_and_another_clip_finds_others(tiny: Tiny) -> None:
    first = save_tiny_clip(tiny.folder / "first", seed=0)
    other = save_tiny_clip(tiny.folder / "other", seed=1)
    tiny.build(embedded(tiny, first, 0.01), until="score")
    eps = middle_eps(tiny)
    tiny.build(embedded(tiny, first, eps))
    removed = found(tiny)
    assert removed == expected(tiny, eps)
    assert 0 < len(removed) < IMAGES - 1
    assert not verify(Storage(str(tiny.out)), deep=True)
    tiny.build(embedded(tiny, other, eps), until="dedup")
    assert found(tiny) == expected(tiny, eps) != removed


@pytest.mark.slow
def test_an_earlier_corpus_of_the_same_clip_joins_in_and_one_of_another_is_refused(
    tiny: Tiny, tmp_path: Path
) -> None:
    clip, other = (save_tiny_clip(tmp_path / name, seed=n) for n, name in enumerate("ab"))
    recipe = embedded(tiny, clip, 0.0)
    tiny.build(recipe, until="dedup")
    eps = middle_eps(tiny)
    tiny.build(embedded(tiny, clip, eps))
    later = Tiny(folder=tmp_path / "later")
    draw_images(later.folder / "images", range(100, 103))
    again = embedded(later, clip, eps)
    against = again.dedup.model_copy(update={"against": (EarlierCorpus(path=str(tiny.out)),)})
    later.build(again.model_copy(update={"dedup": against}), until="dedup")
    assert {row["kept_in"] for row in table(later, "duplicates").values()} <= {"", "tiny"}
    with pytest.raises(RecipeError, match=r"of another scorer there: weights_sha256 '\w+', here"):
        pin(embedded(later, other, eps).model_copy(update={"dedup": against}))
