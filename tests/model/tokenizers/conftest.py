from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from model.tokenizers.checkpoint import read_checkpoint
from model.tokenizers.load import make_var_vqvae
from model.tokenizers.var_network import PRESETS
from model.tokenizers.var_vqvae import VarVqvae

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def var_golden() -> Path:
    return GOLDEN / "var_vqvae"


@pytest.fixture(scope="session")
def bsq_golden() -> Path:
    return GOLDEN / "infinity_bsq"


@pytest.fixture(scope="session")
def preproc_golden() -> Path:
    return GOLDEN / "preproc"


@pytest.fixture(scope="session")
def small_golden(var_golden: Path) -> dict[str, np.ndarray]:
    with np.load(var_golden / "small.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def small_var(var_golden: Path) -> VarVqvae:
    source = read_checkpoint(str(var_golden / "small.state_dict.f16.safetensors"))
    return make_var_vqvae(PRESETS["small"], source)
