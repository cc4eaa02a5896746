from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from training_shards import SQUARE, ShardMaker

from model.tokenizers.infinity_bsq import InfinityBsq
from model.tokenizers.load import make_infinity_bsq
from model.tokenizers.sizes import BsqConfig

NETWORK = BsqConfig(bits=8, ch=24, ch_mult=(1, 1, 1, 1, 1), num_res_blocks=1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors gain nothing from more threads, which wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def pairs_tokenizer() -> InfinityBsq:
    return make_infinity_bsq(NETWORK, None).with_schedule(SQUARE[1.0])


@pytest.fixture(scope="session")
def pairs_corpus(pairs_tokenizer: InfinityBsq, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of random codes, some of prompts with an image; tests must not change it."""
    folder = tmp_path_factory.mktemp("corpora") / "pairs"
    sizes = {"preference": [3, 2], "preference_edit": [2], "t2i": [2], "edit": [1]}
    return ShardMaker(tokenizer=pairs_tokenizer).write(folder, sizes)
