"""Passes of one size, whatever the batch and the memory."""

import pytest
import torch
from torch import Tensor

from filters.compute import Compute, Passes, one_thread


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


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="one image or more, got none"):
        Passes(Compute()).run(torch.ones(0, 2), double)


@pytest.mark.parametrize(
    ("pass_images", "bearable", "size", "halvings"),
    [(16, 2, 2, 3), (16, 15, 8, 1), (16, 16, 16, 0), (7, 3, 3, 1), (3, 2, 1, 1)],
)
def test_out_of_memory_halves_the_passes_for_good_and_loses_nothing(
    pass_images: int, bearable: int, size: int, halvings: int
) -> None:
    def work(part: Tensor) -> Tensor:
        if len(part) > bearable:
            raise torch.OutOfMemoryError("too much")
        return double(part)

    passes = Passes(Compute(pass_images=pass_images))
    given = torch.arange(7.0)[:, None]
    assert torch.equal(passes.run(given, work), 2 * given)
    assert (passes.size, passes.halvings) == (size, halvings)
    assert torch.equal(passes.run(given, work), 2 * given)
    assert passes.halvings == halvings


def test_memory_that_runs_out_midway_costs_no_image() -> None:
    passes_before = 2

    def work(part: Tensor) -> Tensor:
        nonlocal passes_before
        if len(part) > 2 and not passes_before:
            raise torch.OutOfMemoryError("too much")
        passes_before -= 1
        return double(part)

    passes = Passes(Compute(pass_images=4))
    given = torch.arange(11.0)[:, None]
    assert torch.equal(passes.run(given, work), 2 * given)
    assert (passes.size, passes.halvings) == (2, 1)


def test_a_single_image_that_is_too_much_is_an_error() -> None:
    def work(part: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("too much")

    passes = Passes(Compute(pass_images=4))
    with pytest.raises(torch.OutOfMemoryError):
        passes.run(torch.ones(2, 1), work)
    assert passes.halvings == 2


def test_a_precision_of_another_device_and_an_empty_pass_are_refused() -> None:
    with pytest.raises(ValueError, match="tf32: expected a CUDA device, got 'cpu'"):
        Compute(precision="tf32")
    with pytest.raises(ValueError, match="expected 1 image or more per pass, got 0"):
        Compute(pass_images=0)


def test_tf32_is_of_the_network_alone() -> None:
    compute = Compute(device="cuda", precision="tf32")
    with compute.arithmetic():
        with compute.network_arithmetic():
            assert torch.backends.cudnn.allow_tf32
            assert torch.backends.cudnn.deterministic
            assert not torch.backends.cuda.matmul.allow_tf32
        with compute.network_arithmetic(matmul=True):
            assert torch.backends.cuda.matmul.allow_tf32
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32


def test_arithmetic_is_without_gradients_and_leaves_the_settings_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", True)  # as a program may ask
    with Compute().arithmetic():
        assert not torch.is_grad_enabled()
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.deterministic
    assert torch.is_grad_enabled()
    assert torch.backends.cuda.matmul.allow_tf32
    assert settings == (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic)


def test_one_thread_computes_and_then_as_many_as_before() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
