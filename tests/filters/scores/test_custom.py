import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from filters.scorer import Batch, Device, ScorerError, Subject
from filters.scores.registry import make_scorer
from filters.scores.score_images import score_images
from schemas.score_config import CustomScore

CPU = Device()


def lengths(images: Sequence[Image.Image], texts: Sequence[str]) -> list[int]:
    """Score an image by its width and the length of its text."""
    return [image.width * 100 + len(text) for image, text in zip(images, texts, strict=True)]


def short(images: Sequence[Image.Image], texts: Sequence[str]) -> list[float]:
    """Forget an image."""
    return [0.5] * (len(images) - 1)


def wordy(images: Sequence[Image.Image], texts: Sequence[str]) -> list[str]:
    """Return no numbers."""
    return ["good"] * len(images)


def draws(images: Sequence[Image.Image], texts: list[str]) -> list[float]:
    """Blacken the images and forget the texts."""
    for image in images:
        image.paste((0, 0, 0), (0, 0, *image.size))
    return [float(len(texts.pop())) for _ in images]


def leaves(images: Sequence[Image.Image], texts: Sequence[str]) -> list[float]:
    """End the process."""
    sys.exit(3)


def scores(place: str) -> Sequence[float]:
    config = CustomScore(score="custom", name="mine", callable=place)
    subjects = [
        Subject(key=str(side), image=Image.new("RGB", (side, 9)), text="a" * side)
        for side in (3, 5)
    ]
    return score_images(make_scorer(config, Device()), subjects, Device())["mine"]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this file be a module that a recipe can name."""
    monkeypatch.setitem(sys.modules, "my_scores", sys.modules[__name__])


def test_a_callable_scores_each_image_with_its_text() -> None:
    assert scores("my_scores:lengths") == [303.0, 505.0]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("my_scores:gone", "expected MODULE:NAME"),
        ("no_such_module:lengths", "expected MODULE:NAME"),
        ("my_scores:__doc__", "NoneType, expected a callable"),
        ("my_scores:short", "returned 1 scores, expected 2"),
        ("my_scores:wordy", "returned no numbers: .*good"),
    ],
)
def test_a_callable_that_does_not_score_is_named(place: str, message: str) -> None:
    with pytest.raises(ScorerError, match=rf"{place}.*{message}"):
        scores(place)


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("divides", "1 / 0", "ZeroDivisionError: division by zero"),
        ("broken", "def f(:", r"SyntaxError: invalid syntax \(broken.py, line 1\)"),
        ("leaving", "import sys; sys.exit(3)", "SystemExit: 3"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named_until_it_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, body: str, said: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / f"{name}.py").write_text(body)
    with pytest.raises(ScorerError, match=f"scorer {name}:f: {said}"):
        scores(f"{name}:f")
    (tmp_path / f"{name}.py").write_text("def f(images, texts):\n    return [1, 2]\n")
    importlib.invalidate_caches()
    assert scores(f"{name}:f") == [1.0, 2.0]


def test_a_callable_that_ends_its_process_only_fails() -> None:
    with pytest.raises(RuntimeError, match=r"my_scores:leaves called sys\.exit\(3\)"):
        scores("my_scores:leaves")


def test_a_callable_that_draws_on_its_images_changes_none_of_another_scorer() -> None:
    scorer = make_scorer(CustomScore(score="custom", name="mine", callable="my_scores:draws"), CPU)
    white = Image.new("RGB", (3, 3), "white")
    texts = ["a", "bc"]
    batch = Batch(keys=["x", "y"], texts=texts, prepared=[white, white], embeddings=lambda _: None)
    assert scorer.score(batch) == scorer.score(batch) == {"mine": [2.0, 1.0]}
    assert white.getpixel((0, 0)) == (255, 255, 255)
    assert texts == ["a", "bc"]


def test_a_large_image_is_shrunk_first() -> None:
    config = CustomScore(score="custom", name="mine", callable="x:y", max_side=100)
    prepare = make_scorer(config, Device()).prepare
    large, small = Image.new("RGB", (1000, 10)), Image.new("RGB", (100, 40))
    assert prepare(Subject(key="", image=large, text="")).size == (100, 1)
    assert prepare(Subject(key="", image=small, text="")) is small
    assert large.size == (1000, 10)
