"""Ten images of one colour each, and a tiny captioner."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.captioner_training.network import CaptionerSizes
from model.captioner_training.objective import CaptionerPlan
from model.captioner_training.training import Training
from model.image_text.pairs import Pair

TINY = CaptionerSizes(
    stem=8,
    stages=(8, 16, 32),
    blocks=(1, 1, 1),
    width=32,
    heads=2,
    decoder_layers=1,
    dropout=0.05,
)
COLOURS = {
    "red": (220, 20, 20),
    "green": (20, 200, 20),
    "blue": (20, 20, 220),
    "black": (10, 10, 10),
    "yellow": (230, 220, 20),
}
PAIRS = [
    Pair(name=f"{colour}_{number}.png", title=f"{colour} Square 0{number}", text="", tags=())
    for colour in COLOURS
    for number in (1, 2)
]


@pytest.fixture(scope="session")
def pairs() -> list[Pair]:
    return PAIRS


@pytest.fixture(scope="session")
def images() -> list[NDArray[np.uint8]]:
    """An image of each pair: a square of its colour in the middle of white."""
    made: list[NDArray[np.uint8]] = []
    for pair in PAIRS:
        image = np.full((72, 72, 3), 255, np.uint8)
        image[12:60, 12:60] = COLOURS[pair.subject.split()[0]]
        made.append(image)
    return made


@pytest.fixture(scope="session")
def clip_NC() -> NDArray[np.float32]:
    """Embeddings of the images: one direction for each colour."""
    return np.eye(len(COLOURS), 8, dtype=np.float32).repeat(2, axis=0)


@pytest.fixture(scope="session")
def training(
    pairs: list[Pair], images: list[NDArray[np.uint8]], clip_NC: NDArray[np.float32]
) -> Callable[..., Training]:
    """Return a function that makes a training in a folder, by a plan."""

    def made(folder: Path, plan: CaptionerPlan) -> Training:
        return Training(
            sizes=TINY,
            plan=plan,
            pairs=pairs,
            images=images,
            clip_NC=clip_NC,
            clip="colours",
            folder=folder,
        )

    return made
