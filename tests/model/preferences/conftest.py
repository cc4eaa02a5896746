"""A tiny model and batches of pairs, through the loader."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_shards import SQUARE, ShardMaker

from model.data.batch import Batch
from model.data.loader import Loader
from model.data.manifest import Source
from model.data.plan import LoadPlan
from model.data.text import TextEncoder
from model.data.text_tokenizer import bundled_text_tokenizer
from model.tokenizers.infinity_bsq import InfinityBsq
from model.tokenizers.load import make_infinity_bsq
from model.tokenizers.sizes import BsqConfig
from model.vargpt.codes import head_of
from model.vargpt.config import TINY, VargptConfig, with_vocabulary
from model.vargpt.vargpt import Vargpt

NETWORK = BsqConfig(bits=8, ch=24, ch_mult=(1, 1, 1, 1, 1), num_res_blocks=1)


@pytest.fixture(scope="session")
def pairs_tokenizer() -> InfinityBsq:
    return make_infinity_bsq(NETWORK, None).with_schedule(SQUARE[1.0])


@pytest.fixture(scope="session")
def pairs_corpus(pairs_tokenizer: InfinityBsq, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of random codes, some of prompts with an image; tests must not change it."""
    folder = tmp_path_factory.mktemp("corpora") / "pairs"
    sizes = {"preference": [3, 2], "preference_edit": [2], "t2i": [2], "edit": [1]}
    return ShardMaker(tokenizer=pairs_tokenizer).write(folder, sizes)


@pytest.fixture(scope="session")
def load_pairs(pairs_tokenizer: InfinityBsq, pairs_corpus: Path) -> Callable[..., Loader]:
    """Return a function that makes a loader of pairs; keywords are the plan's fields."""
    from transformers import Qwen2VLImageProcessorPil

    text = TextEncoder(bundled_text_tokenizer())
    processor = Qwen2VLImageProcessorPil()

    def make(subset: str = "preference", **fields) -> Loader:
        source = Source(url=str(pairs_corpus), subset=subset)
        plan = LoadPlan(**{"sources": (source,), "batch": 2, "epochs": 1, **fields})
        return Loader(plan, text=text, tokenizer=pairs_tokenizer, image_processor=processor)

    return make


@pytest.fixture(scope="session")
def pairs(load_pairs: Callable[..., Loader]) -> Batch:
    """Two pairs."""
    return next(iter(load_pairs()))


@pytest.fixture(scope="session")
def pairs_config(pairs_tokenizer: InfinityBsq) -> VargptConfig:
    config = with_vocabulary(TINY, bundled_text_tokenizer().get_vocab())
    decoder = replace(config.decoder, drop_path=0.5)
    return replace(config, codes=head_of(pairs_tokenizer), decoder=decoder)


@pytest.fixture
def make_policy(pairs_config: VargptConfig) -> Callable[..., Vargpt]:
    """Return a function that builds a tiny model in training mode, the same for the same seed."""

    def make(seed: int = 0) -> Vargpt:
        torch.manual_seed(seed)
        return Vargpt(pairs_config).train()

    return make
