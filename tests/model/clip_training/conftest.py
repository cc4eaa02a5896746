"""A tiny CLIP, and a folder with its text tokenizer."""

from pathlib import Path

import pytest

from model.clip_training.network import ClipSizes, write_folder

TINY = ClipSizes(
    embed_dim=16,
    image_size=32,
    image_layers=(1, 1, 1, 1),
    image_width=4,
    text_width=16,
    text_heads=2,
    text_layers=1,
)


@pytest.fixture
def tiny() -> ClipSizes:
    return TINY


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    write_folder(folder, TINY)
    return folder
