"""The training loop: takes batches, resumes after a kill, returns averaged weights.

On a CPU a killed and resumed run ends with the same bytes as an uninterrupted one: batches and
learning rate depend on the step alone, random numbers on the plan's seed and the step. CUDA adds in
a varying order, so there the last digits differ from run to run.
"""

import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.tokenizer_training.objectives import Objective, Perceptual, reconstruction_loss
from model.tokenizer_training.plan import Plan
from model.tokenizer_training.state import (
    STATE,
    DivergedError,
    State,
    StateError,
    read_state,
    write_state,
)
from model.tokenizers.prepare import to_model_input
from model.tokenizers.protocol import Schedule

REPORT_EVERY: Final = 20  # steps

Batches = Callable[[int, int, int], Iterator[NDArray[np.uint8]]]
"""(crop, size, start) -> endless batches uint8 [size, crop, crop, 3]."""


class Averaged:
    """Exponential moving average of a network's weights; reconstructs better than the last weights.

    The decay is faster at first, so that the random start does not remain.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.state = {key: x.detach().clone() for key, x in network.state_dict().items()}
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Add the weights after a step."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for key, x in network.state_dict().items():
            if x.is_floating_point():
                self.state[key].lerp_(x, 1 - decay)
            else:
                self.state[key].copy_(x)


class Trainer:
    """Runs a plan, and resumes from a state in `folder`.

    Args:
        objective: the network in its objective; trained in place.
        plan: the plan.
        batches: makes the batches of images.
        schedule: returns the schedule of a crop with a side in px.
        folder: local folder of the state.
        fingerprint: of the plan, the network and the images; a state with another is refused.
        device: torch's name of the device.
        perceptual: a further distance of images; the plan has its weight.
        report: called every `REPORT_EVERY` steps with their figures and the seconds so far.
        unreadable: images that `batches` skips; `batches` fills it. It is kept in the state, so
            that a resumed run lists the images skipped before.
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
        unreadable: dict[str, str] | None = None,
    ) -> None:
        self._objective = objective
        self._plan = plan
        self._batches = batches
        self._schedule = schedule
        self._state = folder / STATE
        self._fingerprint = fingerprint
        self._device = device
        self._perceptual = perceptual
        self._report = report
        self._unreadable = {} if unreadable is None else unreadable
        self.network = objective.network.to(device).train()
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=plan.lr, betas=(0.9, 0.99), weight_decay=0.0
        )
        self._averaged = Averaged(self.network, plan.ema)
        self.step = 0
        self.seconds = 0.0
        self.curve: list[dict[str, float]] = []  # every REPORT_EVERY steps

    def run(self) -> dict[str, Tensor]:
        """Train to the end of the plan, save, and return the averaged weights.

        Raises:
            StateError: the folder holds the state of another run.
            DivergedError: a loss or gradient is not finite; the last state remains.
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
        self._check("loss", loss)
        for group in self._optimizer.param_groups:
            group["lr"] = self._plan.lr_at(self.step)
        self._optimizer.zero_grad()
        loss.backward()
        # A finite loss may have gradients that are not finite, which would spoil the weights.
        self._check("gradient", nn.utils.clip_grad_norm_(self.network.parameters(), 1.0))
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

    def _check(self, what: str, value: Tensor) -> None:
        if torch.isfinite(value):
            return
        kept = f"{self._state} is the last state" if self._state.exists() else "nothing was saved"
        raise DivergedError(
            f"step {self.step}: the {what} is {value.item()}; {kept}. The same command would fail "
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
            unreadable=dict(self._unreadable),
        )
        write_state(self._state, state)

    def _load(self) -> None:
        if not self._state.exists():
            return
        state = read_state(self._state, self._device)
        if state.fingerprint != self._fingerprint:
            raise StateError(
                f"{self._state}: made with another plan, tokenizer or other images; remove it to "
                "start again, or name another folder"
            )
        self.step, self.seconds, self.curve = state.step, state.seconds, state.curve
        self._unreadable.update(state.unreadable)
        self.network.load_state_dict(state.network)
        self._averaged.state = state.averaged
        self._optimizer.load_state_dict(state.optimizer)
