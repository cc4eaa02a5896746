"""Where weights start from."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from model.tokenizer_training.objectives import LossWeights
from model.tokenizer_training.sizes import Trainee
from model.tokenizers.prepare import to_model_input


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
