"""Tiny tokenizers and simple images, small enough to train in a test."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from model.tokenizer_training.trainee import Trainee
from model.tokenizers.sizes import BsqConfig, VarConfig

SMALL = {"ch": 16, "ch_mult": (1, 1, 1, 1, 1), "num_res_blocks": 1, "norm_groups": 0}
TINY = {
    "infinity_bsq": BsqConfig(bits=8, **SMALL),  # type: ignore[arg-type]
    "var_vqvae": VarConfig(vocab=64, z_channels=8, **SMALL),  # type: ignore[arg-type]
}


@pytest.fixture(params=TINY)
def trainee(request: pytest.FixtureRequest) -> Trainee:
    return Trainee(name=request.param, config=TINY[request.param])


@pytest.fixture
def discs() -> Callable[[int, int], NDArray[np.uint8]]:
    """Return a function that draws [count, side, side, 3]: discs of one colour on another."""

    def draw(count: int, side: int) -> NDArray[np.uint8]:
        rng = np.random.RandomState(0)
        y, x = np.mgrid[:side, :side]
        images = []
        for _ in range(count):
            middle, radius = rng.uniform(0.3, 0.7, 2) * side, rng.uniform(0.15, 0.35) * side
            inside = (y - middle[0]) ** 2 + (x - middle[1]) ** 2 < radius**2
            ground, colour = rng.randint(0, 256, (2, 3))
            images.append(np.where(inside[..., None], colour, ground))
        return np.uint8(images)

    return draw
