"""The training loop: batches in, a checkpoint that goes on where it was killed, weights out."""

import io
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.tokenizer_training.objectives import (
    LossWeights,
    Objective,
    Perceptual,
    reconstruction_loss,
)
from model.tokenizers.prepare import to_model_input
from model.tokenizers.protocol import Schedule

STATE: Final = "state.pt"
REPORT_EVERY: Final = 20  # steps

Batches = Callable[[int, int, int], Iterator[NDArray[np.uint8]]]
"""(crop, size, start) -> batches uint8 [size, crop, crop, 3] without end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """A stretch of training at one size."""

    crop: int  # side of the images, px
    batch: int  # images a step
    steps: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What decides a training run, beside its images."""

    phases: tuple[Phase, ...]
    lr: float = 1.5e-3  # at its highest
    warmup: int = 100  # steps
    ema: float = 0.998  # share of the averaged weights kept at each step
    seed: int = 0
    weights: LossWeights = field(default_factory=LossWeights)
    save_every: int = 200  # steps

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    def phase_at(self, step: int) -> tuple[Phase, int]:
        """Return the phase a step belongs to, and its number in that phase."""
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


class Averaged:
    """Exponential moving average of a network's weights, which draws better than the last step's.

    Early on it forgets faster, or the random start would stay in it.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.state = {key: x.detach().clone() for key, x in network.state_dict().items()}
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after a step."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for key, x in network.state_dict().items():
            if x.is_floating_point():
                self.state[key].lerp_(x, 1 - decay)
            else:
                self.state[key].copy_(x)


class Trainer:
    """Run a plan, from wherever a checkpoint in `folder` says it was.

    Args:
        objective: the network in its objective; trained in place.
        plan: what to do.
        batches: where images come from.
        schedule: of a crop's side in px.
        folder: where the state is kept, local.
        fingerprint: of the plan, the network and the images; a state of another is not gone on
            with.
        device: as torch names it.
        perceptual: a further distance of images, weighed by the plan.
        report: called every `REPORT_EVERY` steps with their figures and the seconds so far.
    """

    def __init__(
        self,
        objective: Objective,
        plan: Plan,
        batches: Batches,
        schedule: Callable[[int], Schedule],
        *,
        folder: Path,
        fingerprint: str,
        device: str = "cpu",
        perceptual: Perceptual | None = None,
        report: Callable[[dict[str, float], float], None] = lambda figures, seconds: None,
    ) -> None:
        self._objective = objective
        self._plan = plan
        self._batches = batches
        self._schedule = schedule
        self._folder = folder
        self._fingerprint = fingerprint
        self._device = torch.device(device)
        self._perceptual = perceptual
        self._report = report
        self.network = objective.network.to(self._device).train()
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=plan.lr, betas=(0.9, 0.99), weight_decay=0.0
        )
        self._averaged = Averaged(self.network, plan.ema)
        self.step = 0
        self.seconds = 0.0
        self.curve: list[dict[str, float]] = []  # every REPORT_EVERY steps

    def run(self) -> dict[str, Tensor]:
        """Train to the end of the plan and return the averaged weights.

        Raises:
            FloatingPointError: a loss that is not finite; the state of the last save remains.
        """
        self._load()
        while self.step < self._plan.steps:
            phase, start = self._plan.phase_at(self.step)
            batches = self._batches(phase.crop, phase.batch, start)
            for batch in islice(batches, phase.steps - start):
                self._train(batch, self._schedule(phase.crop))
        self._save()
        return self._averaged.state

    def _train(self, batch: NDArray[np.uint8], schedule: Schedule) -> None:
        started = time.monotonic()
        images_B3HW = to_model_input(batch).to(self._device)
        drawn_B3HW, quantizing = self._objective(images_B3HW, schedule)
        weights = self._plan.weights
        drawing = reconstruction_loss(drawn_B3HW, images_B3HW, weights, self._perceptual)
        loss = drawing + quantizing
        if not torch.isfinite(loss):
            raise FloatingPointError(f"step {self.step}: the loss is {loss.item()}")
        for group in self._optimizer.param_groups:
            group["lr"] = self._plan.lr_at(self.step)
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimizer.step()
        self._objective.after_step(self.step)
        self.step += 1
        self._averaged.update(self.network, self.step)
        self.seconds += time.monotonic() - started
        if self.step % REPORT_EVERY == 0:
            mse = (drawn_B3HW.detach() - images_B3HW).square().mean(dim=(1, 2, 3)) / 4
            figures = {
                "step": self.step,
                "loss": round(loss.item(), 5),
                "quantizing": round(quantizing.item(), 5),
                "psnr": round(-10 * mse.log10().mean().item(), 3),
            }
            self.curve.append(figures)
            self._report(figures, self.seconds)
        if self.step % self._plan.save_every == 0:
            self._save()

    def _save(self) -> None:
        state: dict[str, Any] = {
            "fingerprint": self._fingerprint,
            "step": self.step,
            "seconds": self.seconds,
            "curve": self.curve,
            "network": self.network.state_dict(),
            "averaged": self._averaged.state,
            "optimizer": self._optimizer.state_dict(),
        }
        written = io.BytesIO()
        torch.save(state, written)
        partial = self._folder / f"{STATE}.part"
        partial.write_bytes(written.getvalue())
        os.replace(partial, self._folder / STATE)

    def _load(self) -> None:
        path = self._folder / STATE
        if not path.exists():
            return
        state = torch.load(path, map_location=self._device, weights_only=True)
        if state["fingerprint"] != self._fingerprint:
            raise ValueError(
                f"{path}: of another plan, tokenizer or other images; remove it to begin anew, or "
                "name another folder"
            )
        self.step, self.seconds, self.curve = state["step"], state["seconds"], state["curve"]
        self.network.load_state_dict(state["network"])
        self._averaged.state = state["averaged"]
        self._optimizer.load_state_dict(state["optimizer"])
