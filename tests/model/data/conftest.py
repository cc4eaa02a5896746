"""Tokenizers, and small corpora of theirs."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from training_shards import SHAPES, ShardMaker

from model.data.loader import Loader
from model.data.manifest import Source
from model.data.plan import LoadPlan, Shuffle
from model.data.text import TextEncoder
from model.data.text_tokenizer import bundled_text_tokenizer
from model.tokenizers.infinity_bsq import InfinityBsq
from model.tokenizers.load import make_infinity_bsq
from model.tokenizers.sizes import BsqConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TINY = BsqConfig(bits=8, ch=24, ch_mult=(1, 1, 1, 1, 1), num_res_blocks=1)
SMALL = Shuffle(open_shards=2, block=2, window=4)


@pytest.fixture(scope="session")
def bsq() -> InfinityBsq:
    return make_infinity_bsq(TINY, None)


@pytest.fixture(scope="session")
def words() -> "PreTrainedTokenizerFast":
    return bundled_text_tokenizer()


@pytest.fixture(scope="session")
def text(words: "PreTrainedTokenizerFast") -> TextEncoder:
    return TextEncoder(words)


@pytest.fixture(scope="session")
def square(bsq: InfinityBsq, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of uneven shards, images square, without features; tests must not change it."""
    folder = tmp_path_factory.mktemp("corpora") / "square"
    return ShardMaker(tokenizer=bsq).write(folder, {"t2i": [5, 1, 7, 3]})


@pytest.fixture(scope="session")
def shapes(bsq: InfinityBsq, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of images of three shapes, with features; tests must not change it."""
    folder = tmp_path_factory.mktemp("corpora") / "shapes"
    return ShardMaker(tokenizer=bsq, schedules=SHAPES, features=True).write(
        folder, {"t2i": [9, 4], "edit": [2, 3], "understand": [4]}
    )


@pytest.fixture(scope="session")
def load(bsq: InfinityBsq, text: TextEncoder) -> Callable[..., Loader]:
    """Return a function that makes a loader of sources; keywords are the plan's fields."""

    def make(
        *sources: Source | Path, state: dict | None = None, image_processor=None, **fields
    ) -> Loader:
        listed = tuple(
            each if isinstance(each, Source) else Source(url=str(each)) for each in sources
        )
        plan = LoadPlan(**{"sources": listed, "batch": 2, "epochs": 1, "shuffle": SMALL, **fields})
        return Loader(plan, text=text, tokenizer=bsq, image_processor=image_processor, state=state)

    return make
