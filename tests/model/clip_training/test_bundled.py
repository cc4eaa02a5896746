"""The CLIP that ships with the package, on images of the bundled corpus."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
from corpus import DEMO_LIST
from PIL import Image
from serve import FOLDER

from filters.decode import decode
from filters.scorer import Device
from filters.scores.bundled_clip import WEIGHTS, bundled_clip
from filters.scores.clip_encoder import encoder
from model.clip_training.evaluate import Figures, evaluate
from model.image_text.pairs import title_of, without_skin_tone
from schemas.score_config import BUNDLED, LOCAL_DIR, ClipModel

CLIP = Path(bundled_clip().removeprefix(LOCAL_DIR))
NUMBERS: dict[str, Any] = json.loads((CLIP / "training.json").read_text())


@pytest.fixture(scope="module")
def figures_of() -> Any:
    """Return a function that gives the figures of images of the demo, by their paths."""
    model, preprocess = open_clip.create_model_from_pretrained(bundled_clip())
    tokenizer = open_clip.get_tokenizer(bundled_clip())

    def figures(rows: list[dict[str, Any]]) -> Figures:
        bodies = [(FOLDER / row["url"]).read_bytes() for row in rows]
        images = [decode(body, max_pixels=50_000_000, background="#ffffff") for body in bodies]
        titles = [without_skin_tone(title_of(row)) for row in rows]
        arrays = [np.asarray(image) for image in images]
        return evaluate(model, preprocess, tokenizer, arrays, titles)

    return figures


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """The rows of real images with a title."""
    rows = [json.loads(line) for line in DEMO_LIST.read_text().splitlines()]
    return [row for row in rows if "expect" not in row and title_of(row)]


def test_it_tells_the_titles_of_images_apart(figures_of: Any, rows: list[dict[str, Any]]) -> None:
    found = figures_of(rows)
    assert found.images > 200
    assert found.auc > 0.8  # most of them were trained on
    assert found.text_to_image.r10 > 5 * found.text_to_image.chance_r10


def test_and_of_images_that_it_never_saw(figures_of: Any, rows: list[dict[str, Any]]) -> None:
    unseen = {name.partition("/png/")[2] for name in NUMBERS["held_out"]}
    held = [row for row in rows if row["url"].removeprefix("openclipart/") in unseen]
    found = figures_of(held)
    assert 10 <= found.images <= 60
    assert found.auc > 0.65


def test_its_card_tells_the_figures_and_the_weights_are_small() -> None:
    card = (CLIP / "README.md").read_text()
    for name in ("title", "title and tags"):
        r10 = NUMBERS["evaluation"][name]["text_to_image"]["r10"]
        assert f"{r10:.1%}".replace("%", " %") in card
    assert (CLIP / WEIGHTS).stat().st_size < 8_000_000


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (500, 3), (64, 64)])
def test_images_of_any_shape_have_an_embedding(size: tuple[int, int]) -> None:
    clip = encoder(ClipModel(model=BUNDLED), Device())
    [embedding] = clip.embed_images([clip.prepare(Image.new("RGB", size, "red"))])
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)
