"""A corpus small enough that many tests can each have a copy to change."""

import shutil
from pathlib import Path

import pytest
from tiny import Tiny, draw_images


@pytest.fixture(scope="session")
def six_images(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Six images in three shards; tests must not change it."""
    tiny = Tiny(folder=tmp_path_factory.mktemp("tiny"))
    draw_images(tiny.folder / "images", range(6))
    tiny.build()
    return tiny


@pytest.fixture
def tiny(six_images: Tiny, tmp_path: Path) -> Tiny:
    """The same, to be changed; its listing still lies where it was built."""
    shutil.copytree(six_images.folder, tmp_path / "tiny")
    return Tiny(folder=tmp_path / "tiny")
