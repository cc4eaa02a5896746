"""What must hold on a CUDA device; run with `pytest -m gpu` on a machine that has one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model.tokenizers.bsq_network import BsqConfig
from model.tokenizers.checkpoint import read_checkpoint
from model.tokenizers.compute import Compute, Precision
from model.tokenizers.infinity_bsq import InfinityBsq
from model.tokenizers.load import make_infinity_bsq
from model.tokenizers.prepare import to_model_input

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def images(bsq_golden: Path) -> torch.Tensor:
    with np.load(bsq_golden / "d32.sq256.npz") as arrays:
        return to_model_input(arrays["images_u8"])


def small(bsq_golden: Path, precision: Precision = "fp32", pass_images: int = 4) -> InfinityBsq:
    source = read_checkpoint(str(bsq_golden / "d32.state_dict.f16.safetensors"))
    config = BsqConfig(ch=24, ch_mult=(1, 1, 2, 2, 2), num_res_blocks=1)
    compute = Compute(device="cuda", precision=precision, pass_images=pass_images)
    return make_infinity_bsq(config, source, compute=compute)


def test_fp32_bits_are_the_references(bsq_golden: Path, images: torch.Tensor) -> None:
    tokenizer = small(bsq_golden)
    with np.load(bsq_golden / "d32.sq256.npz") as arrays:
        units, differing = tokenizer.differing(tokenizer.encode(images).values_BL, arrays["packed"])
    assert differing < 1e-4 * units


def test_bits_do_not_depend_on_batch_size_or_neighbours(
    bsq_golden: Path, images: torch.Tensor
) -> None:
    tokenizer = small(bsq_golden)
    together = tokenizer.encode(images).values_BL
    for batch in (1, 3, 7):
        parts = [tokenizer.encode(some).values_BL for some in images.flip(0).split(batch)]
        np.testing.assert_array_equal(np.concatenate(parts)[::-1], together)


@pytest.mark.parametrize(("precision", "most"), [("tf32", 0.05), ("bf16", 0.25)])
def test_other_precisions_move_a_share_of_the_bits(
    bsq_golden: Path, images: torch.Tensor, precision: Precision, most: float
) -> None:
    rough = small(bsq_golden, precision)
    exact = rough.in_fp32().encode(images).values_BL
    units, differing = rough.differing(rough.encode(images).values_BL, exact)
    print(f"\n{precision}: {differing / units:.4%} of the bits differ")
    assert differing < most * units
