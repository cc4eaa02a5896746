"""What both tokenizers do alike: passes, refusals, schedules."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from filters.compute import Compute
from model.tokenizers.load import make_infinity_bsq, make_var_vqvae
from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.tokenizers.protocol import Codes, Schedule, count_codes
from model.tokenizers.sizes import BsqConfig, VarConfig

SCHEDULE: Schedule = ((1, 1), (2, 2), (4, 4))
MULT = (1, 1, 1)  # 4 pixels a code, so that images are tiny
Make = Callable[[Compute], NetworkTokenizer]


def bsq(compute: Compute) -> NetworkTokenizer:
    config = BsqConfig(bits=8, ch=24, ch_mult=MULT, num_res_blocks=1)
    return make_infinity_bsq(config, None, compute=compute).with_schedule(SCHEDULE)


def var(compute: Compute) -> NetworkTokenizer:
    config = VarConfig(
        vocab=64, z_channels=8, ch=32, ch_mult=MULT, num_res_blocks=1, patch_nums=(1, 2, 4)
    )
    return make_var_vqvae(config, None, compute=compute)


@pytest.fixture(params=[bsq, var])
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


def images(count: int, tokenizer: NetworkTokenizer) -> Tensor:
    torch.manual_seed(0)
    return torch.rand(count, 3, *tokenizer.image_size) * 2 - 1


def short_of_memory(work: Callable[[Tensor], Tensor], bearable: int) -> Callable[[Tensor], Tensor]:
    """Return the function, with a device that holds so many images at once."""

    def attempt(batch: Tensor) -> Tensor:
        if len(batch) > bearable:
            raise torch.OutOfMemoryError(f"{len(batch)} images are too many")
        return work(batch)

    return attempt


@pytest.mark.parametrize("pass_images", [1, 4])
def test_what_comes_of_an_image_depends_on_neither_batch_size_nor_neighbours(
    make: Make, pass_images: int
) -> None:
    tokenizer = make(Compute(pass_images=pass_images))
    given = images(7, tokenizer)
    codes = tokenizer.encode(given)
    features, drawn = tokenizer.features(given), tokenizer.decode(codes)
    for batch in (1, 2, 3, 5, 7):
        parts = given.flip(0).split(batch)
        encoded = [tokenizer.encode(some) for some in parts]
        found = np.concatenate([some.values_BL for some in encoded])[::-1]
        np.testing.assert_array_equal(found, codes.values_BL)
        some_features = torch.cat([tokenizer.features(some) for some in parts])
        assert torch.equal(some_features.flip(0), features)
        some_drawn = torch.cat([tokenizer.decode(some) for some in encoded])
        assert torch.equal(some_drawn.flip(0), drawn)


def test_when_memory_runs_out_the_results_are_those_of_smaller_passes(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = make(Compute(pass_images=2)), make(Compute(pass_images=8))
    given = images(5, small)
    network = large._network
    monkeypatch.setattr(network, "encode", short_of_memory(network.encode, 3))
    assert torch.equal(large.features(given), small.features(given))
    assert (large.passes.size, large.passes.halvings) == (2, 2)

    codes = small.encode(given)
    monkeypatch.setattr(network, "decode", short_of_memory(network.decode, 1))
    one = make(Compute(pass_images=1))
    assert torch.equal(large.decode(codes), one.decode(codes))
    assert (large.passes.size, large.passes.halvings) == (1, 3)
    assert large.with_schedule(((1, 1),)).passes.size == 1


def test_an_image_that_is_too_much_alone_is_an_error(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = make(Compute(pass_images=2))
    monkeypatch.setattr(tokenizer._network, "encode", short_of_memory(torch.clone, 0))
    with pytest.raises(torch.OutOfMemoryError, match="1 images are too many"):
        tokenizer.encode(images(2, tokenizer))


def test_bf16_moves_features_and_in_fp32_moves_them_back(make: Make) -> None:
    rough, exact = make(Compute(precision="bf16")), make(Compute())
    given = images(2, exact)
    expected, found = exact.features(given), rough.features(given)
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 0.1 * expected.abs().max()
    assert torch.equal(rough.in_fp32().features(given), expected)
    assert rough.compute.precision == "bf16"


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_features_that_are_not_finite_are_refused(make: Make, value: float) -> None:
    tokenizer = make(Compute())
    features = torch.zeros(2, 8, 4, 4)
    features[1, 7, 3, 3] = value
    with pytest.raises(ValueError, match="finite features"):
        tokenizer.quantize(features)


def test_an_encoder_that_overflows_is_refused(make: Make) -> None:
    tokenizer = make(Compute())
    tokenizer._network.encoder.conv_out.weight.fill_(3e38)
    with pytest.raises(ValueError, match="finite features"):
        tokenizer.encode(images(1, tokenizer))


@pytest.mark.parametrize(
    "shape", [(1, 7, 4, 4), (1, 9, 4, 4), (1, 8, 4, 5), (1, 8, 3, 4), (8, 4, 4), (1, 1, 8, 4, 4)]
)
def test_features_of_another_shape_are_refused(make: Make, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected features \[B, \(8, 4, 4\)\]"):
        make(Compute()).quantize(torch.zeros(shape))


def test_a_batch_of_nothing_is_refused(make: Make) -> None:
    tokenizer = make(Compute())
    with pytest.raises(ValueError, match="one image or more, got none"):
        tokenizer.quantize(torch.zeros(0, 8, 4, 4))
    none = Codes(values_BL=np.zeros((0, 21), tokenizer.codes_dtype), schedule=SCHEDULE)
    with pytest.raises(ValueError, match="one image or more, got none"):
        tokenizer.decode(none)


@pytest.mark.parametrize("schedule", [((1, 1),), ((1, 1), (2, 3), (2, 5)), ((2, 2), (4, 3))])
def test_schedules_of_any_shape_are_coded_and_drawn(make: Make, schedule: Schedule) -> None:
    square = make(Compute(pass_images=2))
    tokenizer = square.with_schedule(schedule)
    height, width = schedule[-1]
    assert tokenizer.image_size == (4 * height, 4 * width)
    codes = tokenizer.encode(images(3, tokenizer))
    assert codes.schedule == schedule
    assert codes.values_BL.shape == (3, count_codes(schedule))
    assert codes.values_BL.dtype == tokenizer.codes_dtype
    assert codes.values_BL.max() < tokenizer.codes_limit
    assert tokenizer.summed_features(codes).shape == (3, 8, height, width)
    drawn = tokenizer.decode(codes)
    assert (drawn.shape, drawn.dtype) == ((3, 3, *tokenizer.image_size), torch.float32)
    assert drawn.abs().max() <= 1
    assert square.schedule == SCHEDULE


@pytest.mark.parametrize("schedule", [((1, 1), (2, 3), (2, 5)), ((2, 2), (4, 3))])
def test_every_scale_but_the_first_has_an_input(make: Make, schedule: Schedule) -> None:
    tokenizer = make(Compute(pass_images=2)).with_schedule(schedule)
    codes = tokenizer.encode(images(3, tokenizer))
    inputs = tokenizer.next_scale_inputs(codes)  # type: ignore[attr-defined]
    assert inputs.shape == (3, count_codes(schedule[1:]), 8)
    assert inputs.dtype == torch.float32


@pytest.mark.parametrize("schedule", [(), ((0, 1),), ((4, 4), (2, 2)), ((1, 3), (2, 2))])
def test_a_schedule_that_is_none_is_refused(make: Make, schedule: Schedule) -> None:
    with pytest.raises(ValueError, match=r"one scale or more|does not fit"):
        make(Compute()).with_schedule(schedule)


def test_the_layout_of_the_images_does_not_matter(make: Make) -> None:
    tokenizer = make(Compute())
    given = images(2, tokenizer)
    strided = given.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert torch.equal(tokenizer.features(strided), tokenizer.features(given))
