"""Tokenizers, and small corpora of theirs."""

from collections.abc import Callable
from pathlib import Path

import pytest
from training_shards import ShardMaker
from transformers import PreTrainedTokenizerFast, Qwen2VLImageProcessorPil

from model.data.loader import Loader
from model.data.manifest import Source
from model.data.order import Shuffle
from model.data.plan import LoadPlan
from model.data.text import TextEncoder
from model.data.text_tokenizer import bundled_text_tokenizer
from model.tokenizers.bsq_network import BsqConfig
from model.tokenizers.infinity_bsq import InfinityBsq
from model.tokenizers.load import make_infinity_bsq

TINY = BsqConfig(bits=8, ch=24, ch_mult=(1, 1, 1, 1, 1), num_res_blocks=1)
SMALL = Shuffle(open_shards=2, block=2, window=4)


@pytest.fixture(scope="session")
def bsq() -> InfinityBsq:
    return make_infinity_bsq(TINY, None)


@pytest.fixture(scope="session")
def words() -> PreTrainedTokenizerFast:
    return bundled_text_tokenizer()


@pytest.fixture(scope="session")
def text(words: PreTrainedTokenizerFast) -> TextEncoder:
    return TextEncoder(words)


@pytest.fixture(scope="session")
def image_processor() -> Qwen2VLImageProcessorPil:
    return Qwen2VLImageProcessorPil()


@pytest.fixture(scope="session")
def corpus(bsq: InfinityBsq, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Uneven shards of all subsets, one of them empty, images square; tests must not change it."""
    sizes = {"t2i": [5, 1, 7, 3], "edit": [2, 3], "understand": [4]}
    return ShardMaker(tokenizer=bsq).write(tmp_path_factory.mktemp("corpus") / "square", sizes)


@pytest.fixture(scope="session")
def load(
    bsq: InfinityBsq, text: TextEncoder, image_processor: Qwen2VLImageProcessorPil
) -> Callable[..., Loader]:
    """Return a function that makes a loader of sources, with a plan's fields as keywords."""

    def make(*sources: Source | Path, state: dict | None = None, **fields) -> Loader:
        listed = tuple(
            each if isinstance(each, Source) else Source(url=str(each)) for each in sources
        )
        plan = LoadPlan(
            **{"sources": listed, "batch": 2, "epochs": 1, "shuffle": SMALL, **fields}
        )
        return Loader(
            plan, text=text, tokenizer=bsq, image_processor=image_processor, state=state
        )

    return make
