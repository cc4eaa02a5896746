"""The loop of a training on images and texts: resumes after a kill, returns averaged weights.

On a CPU a killed and resumed run ends with the same bytes as an uninterrupted one: losses and
learning rate depend on the seed and the step alone.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

from model.tokenizer_training.loop import Averaged
from model.tokenizer_training.plan import warm_cosine
from model.tokenizer_training.state import (
    DivergedError,
    State,
    StateError,
    read_state,
    write_state,
)

REPORT_EVERY: Final = 20  # steps


class Settings(Protocol):
    """The settings that every part of the training has."""

    @property
    def steps(self) -> int:
        """Of the part."""
        ...

    @property
    def cosine_steps(self) -> int:
        """Steps until the learning rate would be 1 %."""
        ...

    @property
    def lr(self) -> float:
        """The highest learning rate."""
        ...

    @property
    def warmup(self) -> int:
        """Steps until the highest learning rate."""
        ...

    @property
    def weight_decay(self) -> float:
        """Of matrices."""
        ...

    @property
    def ema(self) -> float:
        """Share of the averaged weights kept at each step."""
        ...

    @property
    def save_every(self) -> int:
        """Steps between states."""
        ...


class Objective(Protocol):
    """What a part of the training makes small."""

    def __call__(self, step: int) -> Mapping[str, Tensor]:
        """Return the losses of a step by name, scalars; their sum is made small."""
        ...

    def bound(self) -> None:
        """Keep weights within their bounds, after each step."""
        ...


class PartTrainer:
    """Runs one part of the training, and resumes from a state.

    Args:
        objective: a module with the network, whose weights with gradients are trained in place.
        settings: of the part.
        state: local file of the state.
        fingerprint: of everything that decides the run; a state with another is refused.
        report: called every `REPORT_EVERY` steps with their losses and the seconds so far.
    """

    def __init__(
        self,
        objective: Objective,
        settings: Settings,
        *,
        state: Path,
        fingerprint: str,
        report: Callable[[dict[str, float], float], None] = lambda losses, seconds: None,
    ) -> None:
        assert isinstance(objective, nn.Module)
        # A third faster on a CPU.
        self.network = objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._objective, self._settings = objective, settings
        self._state, self._fingerprint, self._report = state, fingerprint, report
        self._optimizer = torch.optim.AdamW(
            _weight_groups(self.network, settings.weight_decay),
            lr=settings.lr,
            betas=(0.9, 0.98),
            eps=1e-6,
        )
        self._averaged = Averaged(self.network, settings.ema)
        self.step = 0
        self.seconds = 0.0
        self.curve: list[dict[str, float]] = []  # every REPORT_EVERY steps

    def run(self) -> dict[str, Tensor]:
        """Train to the end, save, and return the averaged weights.

        Raises:
            StateError: the state is of another run.
            DivergedError: a loss or gradient is not finite; the last state remains.
        """
        self._load()
        while self.step < self._settings.steps:
            self._train()
            if self.step % self._settings.save_every == 0:
                self._save()
        self._save()
        return self._averaged.state

    def _train(self) -> None:
        started = time.monotonic()
        losses = self._objective(self.step)
        loss = torch.stack([*losses.values()]).sum()
        self._check("loss", loss)
        self._set_lr()
        self._optimizer.zero_grad()
        loss.backward()
        self._check("gradient", nn.utils.clip_grad_norm_(self.network.parameters(), 1.0))
        self._optimizer.step()
        self._objective.bound()
        self.step += 1
        self._averaged.update(self.network, self.step)
        self.seconds += time.monotonic() - started
        if self.step % REPORT_EVERY == 0:
            found = {name: round(value.item(), 4) for name, value in losses.items()}
            self.curve.append({"step": self.step, **found})
            self._report(self.curve[-1], self.seconds)

    def _set_lr(self) -> None:
        plan = self._settings
        for group in self._optimizer.param_groups:
            group["lr"] = warm_cosine(
                self.step, steps=plan.cosine_steps, warmup=plan.warmup, lr=plan.lr
            )

    def _check(self, what: str, value: Tensor) -> None:
        if not torch.isfinite(value):
            raise DivergedError(
                f"step {self.step}: the {what} is {value.item()}. The same command would fail "
                "again: try a lower learning rate in another folder"
            )

    def _save(self) -> None:
        state = State(
            fingerprint=self._fingerprint,
            step=self.step,
            seconds=self.seconds,
            network=self.network.state_dict(),
            averaged=self._averaged.state,
            optimizer=self._optimizer.state_dict(),
            curve=self.curve,
        )
        write_state(self._state, state)

    def _load(self) -> None:
        if not self._state.exists():
            return
        state = read_state(self._state)
        if state.fingerprint != self._fingerprint:
            raise StateError(
                f"{self._state}: made with another plan, network or other images; remove it to "
                "start again, or name another folder"
            )
        self.step, self.seconds, self.curve = state.step, state.seconds, state.curve
        self.network.load_state_dict(state.network)
        self._averaged.state = state.averaged
        self._optimizer.load_state_dict(state.optimizer)


def _weight_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return groups of weights: matrices decay, biases, norms and the scale do not."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    return [
        {"params": [w for w in weights if w.ndim >= 2], "weight_decay": weight_decay},
        {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0},
    ]
