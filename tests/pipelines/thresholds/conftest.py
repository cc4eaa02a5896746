"""A small corpus of two sources, really measured, scored and deduplicated."""

import shutil
from pathlib import Path

import pytest
from threshold_corpus import build_until_dedup, lay_out


@pytest.fixture(scope="session")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images, the recipe, and the corpus built of them in `out`."""
    folder = tmp_path_factory.mktemp("thresholds")
    build_until_dedup(lay_out(folder), folder / "out")
    return folder


@pytest.fixture
def corpus(laid_out: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The recipe, and a copy of the corpus that a test may change."""
    shutil.copytree(laid_out / "out", tmp_path / "out")
    return laid_out / "recipe.yaml", tmp_path / "out"
