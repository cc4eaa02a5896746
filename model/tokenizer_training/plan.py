"""What a training run does, step by step, before any image is seen."""

import math
from dataclasses import dataclass, field

from model.tokenizer_training.objectives import LossWeights
from schemas.store.errors import SettingsError


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """A stretch of training at one size.

    Raises:
        SettingsError: no pixel, image or step.
    """

    crop: int  # side of the images, px
    batch: int  # images a step
    steps: int

    def __post_init__(self) -> None:
        if min(self.crop, self.batch, self.steps) < 1:
            raise SettingsError(
                f"phase {self.crop}x{self.batch}:{self.steps}: expected 1 or more of each"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What decides a training run, beside its images.

    Raises:
        SettingsError: a learning rate below 0.
    """

    phases: tuple[Phase, ...]
    lr: float = 1.5e-3  # at its highest
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
        """Return the phase a step belongs to, and its number in that phase.

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
        """Return the learning rate: a linear warm-up, then a cosine to a hundredth."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)
