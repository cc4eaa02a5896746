"""A small corpus of all subsets, to export."""

import shutil
from pathlib import Path

import pytest
from tiny_pairs import NETWORK
from training_shards import SQUARE, ShardMaker

from model.tokenizers.load import make_infinity_bsq

SIZES = {
    "t2i": [3, 2],
    "edit": [2],
    "understand": [2],
    "preference": [2, 1],
    "preference_edit": [2],
}


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with bits and features; tests must not change it."""
    tokenizer = make_infinity_bsq(NETWORK, None).with_schedule(SQUARE[1.0])
    folder = tmp_path_factory.mktemp("corpora") / "small"
    return ShardMaker(tokenizer=tokenizer, features=True).write(folder, SIZES)


@pytest.fixture
def changing_corpus(small_corpus: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(small_corpus, tmp_path / "changing"))
