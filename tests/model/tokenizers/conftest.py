from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from filters.compute import Compute
from model.tokenizers.infinity_bsq import InfinityBsq
from model.tokenizers.load import make_infinity_bsq, make_var_vqvae
from model.tokenizers.protocol import Schedule, scale_slices
from model.tokenizers.sizes import VAR_PRESETS as PRESETS
from model.tokenizers.sizes import BsqConfig
from model.tokenizers.var_vqvae import VarVqvae
from schemas.store.checkpoint import read_checkpoint

GOLDEN = Path(__file__).parents[2] / "golden"
GOLDEN_BSQ = {
    "d32": BsqConfig(ch=24, ch_mult=(1, 1, 2, 2, 2), num_res_blocks=1),
    "d14_patchify": BsqConfig(
        bits=14, ch=24, ch_mult=(1, 1, 2, 2), num_res_blocks=1, patchify=True
    ),
}


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
def small_golden(var_golden: Path) -> dict[str, NDArray]:
    with np.load(var_golden / "small.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def d32_golden(bsq_golden: Path) -> Mapping[str, NDArray]:
    with np.load(bsq_golden / "d32.sq256.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def make_small_var(var_golden: Path) -> Callable[[Compute], VarVqvae]:
    """Return a function that loads the small VAR VQVAE of the golden data."""
    source = read_checkpoint(str(var_golden / "small.state_dict.f16.safetensors"))
    return lambda compute: make_var_vqvae(PRESETS["small"], source, compute=compute)


@pytest.fixture(scope="session")
def make_small_bsq(bsq_golden: Path) -> Callable[[str, Compute], InfinityBsq]:
    """Return a function that loads a small BSQ-VAE of the golden data, d32 or d14_patchify."""

    def make(name: str, compute: Compute) -> InfinityBsq:
        source = read_checkpoint(str(bsq_golden / f"{name}.state_dict.f16.safetensors"))
        return make_infinity_bsq(GOLDEN_BSQ[name], source, compute=compute)

    return make


@pytest.fixture(scope="session")
def small_var(make_small_var: Callable[[Compute], VarVqvae]) -> VarVqvae:
    return make_small_var(Compute())


@pytest.fixture(scope="session")
def assert_only_close_calls() -> Callable[[NDArray, NDArray, Schedule], None]:
    """Return a check that codes or bits are right but for decisions that rounding may turn.

    A wrong code moves the residual of its image, so nothing is asked of the scales after it.
    """

    def check(wrong_BL: NDArray[np.bool_], close_BL: NDArray[np.bool_], schedule: Schedule) -> None:
        assert wrong_BL.shape == close_BL.shape
        for image, (wrong, close) in enumerate(zip(wrong_BL, close_BL, strict=True)):
            for part in scale_slices(schedule):
                bad = wrong[part] & ~close[part]
                assert not bad.any(), f"image {image}, codes {part}: {np.argwhere(bad)}"
                if wrong[part].any():
                    break

    return check
