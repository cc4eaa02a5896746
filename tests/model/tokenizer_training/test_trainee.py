"""Where the weights of a trainee start from, and the schedule of each crop."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.tokenizer_training.objectives import LossWeights
from model.tokenizer_training.trainee import Trainee
from model.tokenizers.prepare import to_model_input


def test_small_crops_have_the_scales_up_to_their_own() -> None:
    bsq = Trainee.of_preset("infinity_bsq", "bundled")
    assert bsq.schedule(128) == ((1, 1), (2, 2), (4, 4), (6, 6), (8, 8))
    assert [size[0] for size in bsq.schedule(256)] == [1, 2, 4, 6, 8, 12, 16]
    patchified = Trainee.of_preset("infinity_bsq", "d14_patchify")
    assert patchified.schedule(64) == ((2, 2), (4, 4), (8, 8))
    var = Trainee.of_preset("var_vqvae", "bundled")
    assert [size[0] for size in var.schedule(128)] == [*range(1, 9)]
    assert [size[0] for size in var.schedule(256)] == [1, 2, 3, 4, 5, 6, 8, 10, 13, 16]


@pytest.mark.parametrize("name", ["infinity_bsq", "var_vqvae"])
def test_a_side_without_a_schedule_is_refused_with_those_that_have_one(name: str) -> None:
    with pytest.raises(ValueError, match=r"no schedule for crops of 100 px, .*128.*256"):
        Trainee.of_preset(name, "bundled").schedule(100)


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown preset 'd32' of var_vqvae, .*'full'"):
        Trainee.of_preset("var_vqvae", "d32")


def test_the_start_is_a_linear_map_of_the_shrunk_image(
    trainee: Trainee, discs: Callable[[int, int], NDArray[np.uint8]]
) -> None:
    network = trainee.objective(LossWeights(), 0).network.eval()
    with torch.no_grad():
        features = network.encode(to_model_input(discs(2, 64)))  # type: ignore[operator]
    assert features.shape == (2, 8, 4, 4)
    assert torch.isfinite(features).all()
    for name, module in network.named_modules():
        if name.endswith(("conv2", "proj_out")):
            assert not module.weight.any()  # type: ignore[union-attr, operator]


def test_the_seed_alone_decides_the_start(trainee: Trainee) -> None:
    def weights(seed: int) -> dict[str, torch.Tensor]:
        return dict(trainee.objective(LossWeights(), seed).network.state_dict())

    first, again, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)
