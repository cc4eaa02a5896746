"""Signs, corners and the order of scales, on hand-made features."""

import numpy as np
import pytest
import torch

from model.tokenizers import bsq_quantizer
from model.tokenizers.protocol import Schedule
from model.tokenizers.schedules import bsq_schedule

SCHEDULE: Schedule = ((1, 1), (1, 2), (2, 3), (4, 6))


def test_exactly_zero_is_bit_0() -> None:
    features = torch.tensor([-1.0, -0.0, 0.0, 1e-30, 1.0]).view(1, 5, 1, 1)
    expected = [[[False, False, False, True, True]]]
    none = torch.zeros(1, 1, 5, dtype=torch.bool)
    assert bsq_quantizer.signs(features).tolist() == expected
    assert bsq_quantizer.encode(features, ((1, 1),)).tolist() == expected
    assert bsq_quantizer.self_correct(features, ((1, 1),), none)[0].tolist() == expected


@pytest.mark.parametrize("bits", [1, 14, 64])
def test_bits_name_corners_of_unit_length(bits: int) -> None:
    torch.manual_seed(0)
    drawn = torch.rand(2, 3, bits) < 0.5
    corners = bsq_quantizer.corners(drawn)
    assert torch.equal(corners > 0, drawn)
    assert torch.allclose(corners.abs(), torch.tensor(bits**-0.5))
    assert torch.allclose(corners.norm(dim=2), torch.tensor(1.0))


def test_every_scale_codes_what_the_scales_before_left() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 8, 4, 6)
    bits = bsq_quantizer.encode(features, SCHEDULE)
    sums = bsq_quantizer.partial_sums(bits, SCHEDULE)
    rests = [features, *(features - sum_so_far for sum_so_far in sums[:-1])]
    shrunk = map(bsq_quantizer.shrink, rests, SCHEDULE)
    again = torch.cat([bsq_quantizer.signs(z) for z in shrunk], dim=1)
    assert torch.equal(bits, again)


def test_next_scale_inputs_are_causal() -> None:
    torch.manual_seed(0)
    bits = torch.rand(1, 33, 8) < 0.5
    changed = bits.clone()
    changed[:, 3:9] ^= True  # the third scale, which only the fourth reads
    inputs, others = (
        torch.cat(
            [
                x.flatten(2)
                for x in bsq_quantizer.next_scale_inputs(
                    bsq_quantizer.partial_sums(some, SCHEDULE), SCHEDULE
                )
            ],
            dim=2,
        )
        for some in (bits, changed)
    )
    assert inputs.shape == (1, 8, 32)
    same = (inputs == others).all(dim=1)[0].numpy()
    np.testing.assert_array_equal(same, np.arange(32) < 8)


def test_the_features_are_not_changed_by_encoding() -> None:
    features = torch.randn(1, 8, 4, 6)
    before = features.clone()
    bsq_quantizer.encode(features, SCHEDULE)
    bsq_quantizer.self_correct(features, SCHEDULE, torch.ones(1, 33, 8, dtype=torch.bool))
    assert torch.equal(features, before)


def test_correction_from_bits_gives_the_bits_where_nothing_is_flipped() -> None:
    torch.manual_seed(0)
    schedule = bsq_schedule(1.0, 256)
    bits = bsq_quantizer.encode(torch.randn(2, 16, 16, 16), schedule)
    labels, sums = bsq_quantizer.self_correct_bits(bits, schedule, torch.zeros_like(bits))
    assert torch.equal(labels, bits)
    for one, other in zip(sums, bsq_quantizer.partial_sums(bits, schedule), strict=True):
        assert torch.equal(one, other)


def test_correction_from_bits_is_nearer_to_that_of_features_than_the_bits_are() -> None:
    torch.manual_seed(0)
    schedule = bsq_schedule(1.0, 256)
    features = torch.randn(4, 16, 16, 16) / 4  # about as large as the codes
    bits = bsq_quantizer.encode(features, schedule)
    flips = torch.rand(bits.shape) < 0.15
    exact, _ = bsq_quantizer.self_correct(features, schedule, flips)
    labels, _ = bsq_quantizer.self_correct_bits(bits, schedule, flips)
    right, clean = ((each == exact).float().mean() for each in (labels, bits))
    assert right > clean + 0.02
    assert torch.equal(labels[:, 0], exact[:, 0])
