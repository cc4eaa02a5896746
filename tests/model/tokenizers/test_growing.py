"""An image that grows scale by scale is the same as one that is there at once."""

import numpy as np
import pytest
import torch

from filters.compute import Compute
from model.tokenizers.infinity_bsq import InfinityBsq
from model.tokenizers.load import load_tokenizer
from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.tokenizers.protocol import Codes, Schedule, scale_slices

SCHEDULE = ((1, 1), (2, 2), (3, 4), (4, 6))
EVEN = ((2, 2), (4, 4), (6, 8), (8, 12))


@pytest.fixture(params=["infinity_bsq", "var_vqvae", "patchify"])
def tokenizer(request: pytest.FixtureRequest, make_small_bsq) -> NetworkTokenizer:
    if request.param == "patchify":
        return make_small_bsq("d14_patchify", Compute()).with_schedule(EVEN)
    return load_tokenizer(request.param, preset="bundled").with_schedule(SCHEDULE)


def drawn(tokenizer: NetworkTokenizer, schedule: Schedule) -> Codes:
    length = sum(height * width for height, width in schedule)
    values = np.random.default_rng(0).integers(tokenizer.codes_limit, size=(3, length))
    return Codes(values_BL=values.astype(tokenizer.codes_dtype), schedule=schedule)


def targets_of(tokenizer: NetworkTokenizer, codes: Codes) -> torch.Tensor:
    if isinstance(tokenizer, InfinityBsq):
        return tokenizer.labels(codes).long()
    return tokenizer.to_indices(codes).unsqueeze(-1)


def test_inputs_and_sums_scale_by_scale_are_those_of_the_whole(tokenizer) -> None:
    codes = drawn(tokenizer, tokenizer.schedule)
    whole = tokenizer.next_scale_inputs(codes)
    targets = targets_of(tokenizer, codes)
    parts = scale_slices(tokenizer.model_schedule)
    total = None
    for scale, part in enumerate(parts):
        if total is not None:
            expected = whole[:, part.start - 1 : part.stop - 1]
            assert torch.equal(tokenizer.scale_inputs(total, scale), expected), scale
        total = tokenizer.add_scale(total, targets[:, part], scale)
    assert torch.equal(total, tokenizer.summed_features(codes))


def test_targets_go_back_to_codes(tokenizer) -> None:
    codes = drawn(tokenizer, tokenizer.schedule)
    back = tokenizer.to_codes(targets_of(tokenizer, codes))
    assert back.schedule == codes.schedule
    assert back.values_BL.dtype == codes.values_BL.dtype
    assert (back.values_BL == codes.values_BL).all()


def test_a_model_sees_blocks_of_a_patchified_grid(make_small_bsq) -> None:
    patchified = make_small_bsq("d14_patchify", Compute()).with_schedule(EVEN)
    assert patchified.model_schedule == SCHEDULE
