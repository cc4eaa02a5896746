"""A faster convolution is the same convolution, and about as exact."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.tokenizers import winograd
from model.tokenizers.winograd import Conv3, convolve


def drawn(channels: int, size: tuple[int, int], batch: int = 1) -> tuple[Tensor, Conv3]:
    torch.manual_seed(0)
    conv = Conv3(channels, channels).requires_grad_(False)
    x_BCHW = torch.randn(batch, channels, *size)
    return x_BCHW.to(memory_format=torch.channels_last), conv


@pytest.mark.parametrize("size", [(4, 4), (4, 16), (12, 8), (60, 68), (64, 64)])
@pytest.mark.parametrize("channels", [4, 128])
def test_it_is_the_convolution_and_about_as_exact_as_torchs(
    channels: int, size: tuple[int, int]
) -> None:
    x_BCHW, conv = drawn(channels, size, batch=2)
    assert conv.bias is not None
    exact = F.conv2d(x_BCHW.double(), conv.weight.double(), conv.bias.double(), padding=1)
    ours = convolve(x_BCHW, conv.weight, conv.bias)
    torchs = F.conv2d(x_BCHW, conv.weight, conv.bias, padding=1)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    error, usual = ((y.double() - exact).norm() / exact.norm() for y in (ours, torchs))
    assert error < 2.5 * usual + 5e-7


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes that went Winograd's way."""
    shapes: list[tuple[int, ...]] = []

    def watched(x_BCHW: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        shapes.append(tuple(x_BCHW.shape))
        return convolve(x_BCHW, weight, bias)

    monkeypatch.setattr(winograd, "convolve", watched)
    return shapes


def test_only_wide_and_large_inference_goes_that_way(taken: list[tuple[int, ...]]) -> None:
    x_BCHW, conv = drawn(128, (32, 32))
    with torch.no_grad():
        conv(x_BCHW)
        assert taken == [(1, 128, 32, 32)]
        conv(x_BCHW.contiguous())
        conv(x_BCHW[:, :, :16])
        conv(x_BCHW.repeat(1, 1, 2, 1)[:, :, :34])
        narrow, small = drawn(64, (32, 32))
        small(narrow)
        with torch.autocast("cpu", torch.bfloat16):
            conv(x_BCHW)
    conv(x_BCHW)  # gradients may be wanted
    assert len(taken) == 1
