"""Norms that are as exact in the channels-last layout as in torch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.tokenizers.group_norm import GroupNorm


def made(groups: int, channels: int) -> GroupNorm:
    torch.manual_seed(0)
    norm = GroupNorm(num_groups=groups, num_channels=channels, eps=1e-6).requires_grad_(False)
    norm.weight.normal_(1, 0.1)
    norm.bias.normal_(0, 0.1)
    return norm


def exactly(norm: GroupNorm, x: Tensor) -> Tensor:
    return F.group_norm(
        x.double(), norm.num_groups, norm.weight.double(), norm.bias.double(), norm.eps
    )


def last(x: Tensor) -> Tensor:
    return x.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(16, 16), (7, 13), (1, 5), (31, 1), (96, 96)])
@pytest.mark.parametrize("offset", [0.0, 30.0])
@pytest.mark.parametrize(("groups", "channels"), [(8, 32), (24, 24), (1, 6)])
def test_channels_last_norms_are_as_exact_as_contiguous_ones(
    groups: int, channels: int, size: tuple[int, int], offset: float
) -> None:
    norm = made(groups, channels)
    x = torch.randn(2, channels, *size) * 3 + offset
    exact = exactly(norm, x)
    with torch.no_grad():
        ours, contiguous = norm(last(x)), norm(x)
    assert torch.equal(contiguous, F.group_norm(x, groups, norm.weight, norm.bias, 1e-6))
    error = (ours.double() - exact).abs().max()
    assert error < 2e-6 * (1 + offset)
    assert error < 2 * (contiguous.double() - exact).abs().max() + 1e-6


def test_the_layout_stays_and_the_input_is_not_changed() -> None:
    norm, x = made(4, 8), last(torch.randn(2, 8, 5, 7))
    before = x.clone()
    with torch.no_grad():
        assert norm(x).is_contiguous(memory_format=torch.channels_last)
        assert norm(x.contiguous()).is_contiguous()
    assert torch.equal(x, before)


@pytest.mark.parametrize("spread", [0.0, 1e-3, 1e-1])
def test_what_hardly_varies_is_as_exact_as_in_torchs_layout(spread: float) -> None:
    norm = made(4, 8)
    x = 30 + spread * torch.randn(1, 8, 5, 7)
    exact = exactly(norm, x)
    with torch.no_grad():
        error = (norm(last(x)).double() - exact).abs().max()
        assert error < 2 * (norm(x).double() - exact).abs().max() + 1e-6


def test_sums_of_bfloat16_are_not_rounded_to_bfloat16() -> None:
    norm = made(8, 32)
    x = last(torch.randn(2, 32, 16, 16) + 30).bfloat16()
    with torch.no_grad():
        assert (norm(x).double() - exactly(norm, x)).abs().max() < 1e-4


def test_a_norm_that_is_trained_has_torchs_own_gradients() -> None:
    torch.manual_seed(0)
    norm = GroupNorm(num_groups=4, num_channels=8, eps=1e-6)
    x = last(torch.randn(2, 8, 4, 4)).requires_grad_()
    norm(x).square().sum().backward()
    found, x.grad = x.grad, None
    F.group_norm(x, 4, norm.weight, norm.bias, 1e-6).square().sum().backward()
    assert found is not None
    assert torch.equal(found, x.grad)  # type: ignore[arg-type]
