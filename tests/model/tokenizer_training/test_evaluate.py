"""Figures of held-out images, on tokenizers whose faults are known."""

from typing import Any

import numpy as np
import pytest
import torch

from model.tokenizer_training.evaluate import (
    bit_entropy,
    bits_a_code,
    codebook_used,
    evaluate,
    reconstructions,
)
from model.tokenizers.infinity_bsq import InfinityBsq
from model.tokenizers.likeness import MOST_PSNR
from model.tokenizers.load import load_tokenizer
from model.tokenizers.protocol import Codes


class Shifting:
    """A codebook of 16 entries that keeps images aside and gives them back, a little brighter."""

    schedule = ((1, 1), (2, 2))
    image_size = (32, 32)
    codes_limit = 16

    def __init__(self, shift: float) -> None:
        self.shift = shift

    def encode(self, images: torch.Tensor) -> Codes:
        self.images = images
        values = np.tile(np.uint16([0, 1, 2, 3, 3]), (len(images), 1))
        return Codes(values_BL=values, schedule=self.schedule)

    def decode(self, codes: Codes) -> torch.Tensor:
        assert len(codes) == len(self.images)
        return self.images + self.shift


def grey(count: int) -> np.ndarray:
    ramp = np.arange(32, dtype=np.uint8) * 4
    return np.broadcast_to(ramp[None, :, None, None], (count, 32, 32, 3)).copy()


def test_psnr_is_that_of_the_error_in_unit_range() -> None:
    tokenizer: Any = Shifting(0.2)  # of 2: 0.1 in [0, 1], 20 dB
    figures = evaluate(tokenizer, grey(20))  # more than go at once
    assert figures.images == 20
    assert figures.side == 32
    assert figures.psnr == pytest.approx(20, abs=1e-3)
    assert figures.psnr_p5 == pytest.approx(20, abs=1e-3)
    assert 0.5 < figures.ssim_p5 <= figures.ssim < 1
    assert figures.bits_an_image == 5 * 4
    assert figures.codebook_used == 4 / 16
    assert figures.bit_entropy is None


def test_an_image_drawn_exactly_has_the_highest_psnr_and_not_an_infinite_one() -> None:
    tokenizer: Any = Shifting(0.0)
    figures = evaluate(tokenizer, grey(2))
    assert (figures.psnr, figures.ssim) == (MOST_PSNR, pytest.approx(1))


@pytest.mark.parametrize(
    ("bits", "entropy"),
    [([[1, 1], [1, 1]], 0), ([[0, 1], [1, 0]], 1), ([[1, 1], [0, 1]], 0.5)],
)
def test_entropy_is_of_each_bit_over_all_positions(bits: list[list[int]], entropy: float) -> None:
    assert bit_entropy(torch.tensor([bits]).bool()) == pytest.approx(entropy)


def test_share_of_a_codebook_counts_entries_once() -> None:
    assert codebook_used(np.uint16([[0, 0], [5, 5]]), 8) == 0.25


def test_bits_of_the_bundled_tokenizers() -> None:
    bsq = load_tokenizer("infinity_bsq", preset="bundled")
    assert isinstance(bsq, InfinityBsq)
    assert bits_a_code(bsq) == 32
    assert bits_a_code(load_tokenizer("var_vqvae", preset="bundled")) == 12


def test_the_picture_has_originals_above_what_came_of_them() -> None:
    tokenizer: Any = Shifting(0.2)
    picture = np.asarray(reconstructions(tokenizer, list(grey(3))))
    assert picture.shape == (64, 96, 3)
    np.testing.assert_array_equal(picture[:32, 32:64], grey(1)[0])
    assert (picture[32:].astype(int) - picture[:32]).mean() == pytest.approx(25.5, abs=0.6)
