"""The plan of a training run: phases, learning rate and loss weights."""

import math
from dataclasses import dataclass, field

from model.tokenizer_training.objectives import LossWeights
from schemas.store.errors import SettingsError


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """A part of the training with one image size.

    Raises:
        SettingsError: a value is below 1.
    """

    crop: int  # side of the images, px
    batch: int  # images per step
    steps: int

    def __post_init__(self) -> None:
        if min(self.crop, self.batch, self.steps) < 1:
            raise SettingsError(
                f"phase {self.crop}x{self.batch}:{self.steps}: expected 1 or more of each"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The settings of a training run, without its images.

    Raises:
        SettingsError: the learning rate is below 0.
    """

    phases: tuple[Phase, ...]
    lr: float = 1.5e-3  # the highest rate
    warmup: int = 100  # steps
    ema: float = 0.998  # share of the averaged weights kept at each step
    seed: int = 0
    weights: LossWeights = field(default_factory=LossWeights)
    save_every: int = 200  # steps

    def __post_init__(self) -> None:
        if not self.lr >= 0:
            raise SettingsError(f"learning rate {self.lr}: expected 0 or more")

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    def phase_at(self, step: int) -> tuple[Phase, int]:
        """Return the phase of a step, and the number of the step in that phase.

        >>> first, second = Phase(crop=64, batch=2, steps=3), Phase(crop=128, batch=1, steps=2)
        >>> Plan(phases=(first, second)).phase_at(4)
        (Phase(crop=128, batch=1, steps=2), 1)
        """
        for phase in self.phases:
            if step < phase.steps:
                return phase, step
            step -= phase.steps
        raise ValueError(f"step {step} is past the last phase")

    def lr_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        return warm_cosine(step, steps=self.steps, warmup=self.warmup, lr=self.lr)


def warm_cosine(step: int, *, steps: int, warmup: int, lr: float) -> float:
    """Return the learning rate: a linear warm-up to `lr`, then a cosine down to 1 %."""
    if step < warmup:
        return lr * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return lr * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)
