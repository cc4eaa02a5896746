"""Passes of one size, and norms that are exact in either layout."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.tokenizers.compute import Compute, Passes
from model.tokenizers.group_norm import GroupNorm


def double(batch: Tensor) -> Tensor:
    return 2 * batch


@pytest.mark.parametrize("batch", [1, 3, 4, 5, 8, 9])
def test_every_pass_has_the_same_size_whatever_the_batch(batch: int) -> None:
    sizes: list[int] = []

    def work(part: Tensor) -> Tensor:
        sizes.append(len(part))
        return double(part)

    given = torch.arange(batch * 2.0).view(batch, 2)
    assert torch.equal(Passes(Compute(pass_images=4)).run(given, work), 2 * given)
    assert sizes == [4] * -(-batch // 4)


def test_the_last_pass_is_filled_up_with_zeros() -> None:
    seen: list[Tensor] = []
    Passes(Compute(pass_images=4)).run(torch.ones(1, 2), lambda part: seen.append(part) or part)
    assert seen[0].tolist() == [[1, 1], [0, 0], [0, 0], [0, 0]]


def test_out_of_memory_halves_the_passes_for_good_and_loses_nothing() -> None:
    def work(part: Tensor) -> Tensor:
        if len(part) > 2:
            raise torch.OutOfMemoryError("too much")
        return double(part)

    passes = Passes(Compute(pass_images=16))
    given = torch.arange(7.0)[:, None]
    assert torch.equal(passes.run(given, work), 2 * given)
    assert (passes.size, passes.halvings) == (2, 3)
    assert torch.equal(passes.run(given, work), 2 * given)
    assert passes.halvings == 3


def test_a_single_image_that_is_too_much_is_an_error() -> None:
    def work(part: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("too much")

    with pytest.raises(torch.OutOfMemoryError):
        Passes(Compute(pass_images=4)).run(torch.ones(2, 1), work)


def test_a_precision_of_another_device_and_an_empty_pass_are_refused() -> None:
    with pytest.raises(ValueError, match="tf32 is a mode of CUDA devices, not of 'cpu'"):
        Compute(precision="tf32")
    with pytest.raises(ValueError, match="a pass takes 1 image or more, not 0"):
        Compute(pass_images=0)


@pytest.mark.parametrize("size", [(16, 16), (7, 13), (1, 5), (96, 96)])
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_channels_last_norms_are_as_exact_as_contiguous_ones(
    size: tuple[int, int], offset: float
) -> None:
    torch.manual_seed(0)
    norm = GroupNorm(num_groups=8, num_channels=32, eps=1e-6).requires_grad_(False)
    norm.weight.normal_(1, 0.1)
    norm.bias.normal_(0, 0.1)
    x = torch.randn(2, 32, *size) * 3 + offset
    exact = F.group_norm(x.double(), 8, norm.weight.double(), norm.bias.double(), 1e-6)
    with torch.no_grad():
        ours = norm(x.to(memory_format=torch.channels_last))
        contiguous = norm(x)
    assert torch.equal(contiguous, F.group_norm(x, 8, norm.weight, norm.bias, 1e-6))
    error = (ours.double() - exact).abs().max()
    assert error < 2e-6 * (1 + offset)
    assert error < 2 * (contiguous.double() - exact).abs().max() + 1e-6


def test_a_norm_that_is_trained_has_torchs_own_gradients() -> None:
    torch.manual_seed(0)
    norm = GroupNorm(num_groups=4, num_channels=8, eps=1e-6)
    x = torch.randn(2, 8, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    norm(x).square().sum().backward()
    found, x.grad = x.grad, None
    F.group_norm(x, 4, norm.weight, norm.bias, 1e-6).square().sum().backward()
    assert torch.equal(found, x.grad)  # type: ignore[arg-type]
