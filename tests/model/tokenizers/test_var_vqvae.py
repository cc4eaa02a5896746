from dataclasses import replace

import numpy as np
import pytest
import torch

from model.tokenizers.protocol import Codes
from model.tokenizers.sizes import VarConfig
from model.tokenizers.var_vqvae import VarVqvae


def codes_of(tokenizer: VarVqvae, value: int) -> Codes:
    return Codes(values_BL=np.full((1, 680), value, np.uint16), schedule=tokenizer.schedule)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(1, 3, 256, 255),
        torch.zeros(1, 1, 256, 256),
        torch.zeros(3, 256, 256),
        torch.zeros(0, 3, 256, 256),
        torch.zeros(1, 3, 256, 256, dtype=torch.float64),
    ],
)
def test_images_of_another_shape_or_dtype_are_refused(
    small_var: VarVqvae, images: torch.Tensor
) -> None:
    with pytest.raises(ValueError, match="expected float32"):
        small_var.encode(images)


@pytest.mark.parametrize("value", [1.001, -1.001, float("nan")])
def test_pixels_out_of_range_are_refused(small_var: VarVqvae, value: float) -> None:
    images = torch.zeros(2, 3, 256, 256)
    images[1, 2, 100, 100] = value
    with pytest.raises(ValueError, match="largest magnitude is"):
        small_var.encode(images)


def test_features_that_are_not_finite_are_refused(small_var: VarVqvae) -> None:
    features = torch.zeros(2, 32, 16, 16)
    features[1, 31, 15, 15] = float("nan")
    with pytest.raises(ValueError, match="finite features"):
        small_var.quantize(features)


def test_the_largest_code_decodes_and_the_next_is_refused(small_var: VarVqvae) -> None:
    assert small_var.decode(codes_of(small_var, 4095)).shape == (1, 3, 256, 256)
    with pytest.raises(ValueError, match="expected codes below 4096, the largest is 4096"):
        small_var.decode(codes_of(small_var, 4096))


def test_codes_of_another_schedule_are_refused(small_var: VarVqvae) -> None:
    sideways = replace(codes_of(small_var, 0), schedule=((17, 40),))
    with pytest.raises(ValueError, match="expected codes of schedule"):
        small_var.next_scale_inputs(sideways)


def test_next_scale_inputs_can_be_trained_on(small_var: VarVqvae) -> None:
    layer = torch.nn.Linear(32, 1)
    layer(small_var.next_scale_inputs(codes_of(small_var, 7))).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.abs().sum() > 0


@pytest.mark.slow
def test_codes_are_the_same_with_one_thread_and_with_two(
    small_var: VarVqvae, small_golden: dict[str, np.ndarray]
) -> None:
    features = torch.from_numpy(small_golden["f"])
    alone = small_var.quantize(features)
    torch.set_num_threads(2)
    np.testing.assert_array_equal(small_var.quantize(features).values_BL, alone.values_BL)


def test_a_vocabulary_that_overflows_the_stored_codes_is_refused() -> None:
    assert VarConfig(vocab=65_536).vocab == 65_536
    with pytest.raises(ValueError, match="for uint16, got 65537"):
        VarConfig(vocab=65_537)
