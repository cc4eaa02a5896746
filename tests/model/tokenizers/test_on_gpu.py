"""What must hold on a CUDA device; run with `pytest -m gpu` on a machine that has one."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from filters.compute import Compute, Precision
from model.tokenizers import bsq_quantizer
from model.tokenizers.prepare import to_model_input

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
Golden = Mapping[str, NDArray]

# Decisions this close may fall otherwise than on the CPU that made the golden data, whose
# features those of another device need match to 1e-4 only.
CLOSE_INDEX = 1e-3  # squared distance
CLOSE_BIT = 1e-4  # on the unit sphere


def compute(precision: Precision = "fp32") -> Compute:
    return Compute(device=DEVICE, precision=precision, pass_images=4)


def test_indices_are_the_references_but_for_close_calls(
    make_small_var: Callable, small_golden: Golden, assert_only_close_calls: Callable
) -> None:
    tokenizer = make_small_var(compute())
    features = tokenizer.features(to_model_input(small_golden["images_u8"]))
    np.testing.assert_allclose(features.cpu(), small_golden["f"], rtol=0, atol=1e-4)
    close = small_golden["margin"] < CLOSE_INDEX
    for given in (torch.from_numpy(small_golden["f"]), features):
        wrong = tokenizer.quantize(given).values_BL != small_golden["idx"]
        assert_only_close_calls(wrong, close, tokenizer.schedule)


def test_bits_are_the_references_but_for_close_calls(
    make_small_bsq: Callable, d32_golden: Golden, assert_only_close_calls: Callable
) -> None:
    exact, tokenizer = make_small_bsq("d32", Compute()), make_small_bsq("d32", compute())
    golden = exact.quantize(torch.from_numpy(d32_golden["h"]))
    np.testing.assert_array_equal(golden.values_BL, d32_golden["packed"])
    bits = exact.bits(golden)
    close = margins(torch.from_numpy(d32_golden["h"]), bits, exact.schedule) < CLOSE_BIT
    assert close.float().mean() < 1e-3

    features = tokenizer.features(to_model_input(d32_golden["images_u8"]))
    np.testing.assert_allclose(features.cpu(), d32_golden["h"], rtol=0, atol=1e-4)
    for given in (torch.from_numpy(d32_golden["h"]), features):
        wrong = tokenizer.bits(tokenizer.quantize(given)).cpu() != bits
        assert_only_close_calls(wrong.numpy(), close.numpy(), tokenizer.schedule)


def margins(h_BdHW: torch.Tensor, bits_BLd: torch.Tensor, schedule: tuple) -> torch.Tensor:
    sums = bsq_quantizer.partial_sums(bits_BLd, schedule)[:-1]
    rests = [h_BdHW, *(h_BdHW - sum_BdHW for sum_BdHW in sums)]
    shrunk = map(bsq_quantizer.shrink, rests, schedule)
    return torch.cat([bsq_quantizer.margins(z_Bdhw) for z_Bdhw in shrunk], dim=1)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("name", ["infinity_bsq", "var_vqvae"])
def test_codes_do_not_depend_on_batch_size_or_neighbours(
    make_small_var: Callable,
    make_small_bsq: Callable,
    d32_golden: Golden,
    name: str,
    precision: Precision,
) -> None:
    of = compute(precision)
    tokenizer = make_small_var(of) if name == "var_vqvae" else make_small_bsq("d32", of)
    images = to_model_input(d32_golden["images_u8"])
    together = tokenizer.encode(images).values_BL
    for batch in (1, 3, 7):
        parts = [tokenizer.encode(some).values_BL for some in images.flip(0).split(batch)]
        np.testing.assert_array_equal(np.concatenate(parts)[::-1], together)


@pytest.mark.parametrize(("precision", "most"), [("tf32", 0.05), ("bf16", 0.25)])
def test_other_precisions_move_a_share_of_the_bits(
    make_small_bsq: Callable, d32_golden: Golden, precision: Precision, most: float
) -> None:
    rough = make_small_bsq("d32", compute(precision))
    images = to_model_input(d32_golden["images_u8"])
    exact = rough.in_fp32().encode(images).values_BL
    units, differing = rough.differing(rough.encode(images).values_BL, exact)
    print(f"\n{precision}: {differing / units:.4%} of the bits differ")
    assert 0 < differing < most * units
