"""Saving and resuming of a training."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.tokenizer_training.state import StateError
from model.training import checkpoint
from model.training.checkpoint import TrainingState
from model.training.optimizer import optimizer_tensors, set_steps
from model.training.parallel import Processes
from model.training.recipe import Recipe, changed
from model.vargpt.vargpt import Vargpt


@dataclass(frozen=True, kw_only=True, slots=True)
class Saves:
    """The checkpoints of a training."""

    recipe: Recipe
    model: Vargpt
    optimizer: torch.optim.Optimizer
    trained: Mapping[str, nn.Parameter]  # the optimizer's weights, by name
    out: Path  # folder of the training
    processes: Processes

    def save(self, step: int, seconds: float, streams: tuple[dict[str, Any], ...]) -> None:
        """Save everything that resuming needs.

        Args:
            step: number of steps done.
            seconds: duration of these steps.
            streams: the state of every stream of micro-batches, of all processes.
        """
        state = TrainingState(
            step=step,
            seconds=seconds,
            recipe=self.recipe.model_dump(mode="json"),
            model=checkpoint.facts(self.model.config),
            streams=streams,
        )
        checkpoint.save(self.out, state, self._tensors(), self.processes, keep=self.recipe.keep)

    def resume(self, streams: int) -> TrainingState | None:
        """Load the latest checkpoint into model and optimizer, if there is one.

        Args:
            streams: number of streams of this run.

        Raises:
            StateError: the checkpoint is damaged, or belongs to another training.
        """
        saved = checkpoint.checkpoints(self.out)
        if not saved:
            return None
        state = checkpoint.read_state(saved[-1])
        self._check_same(saved[-1], state, streams)
        checkpoint.load(saved[-1], self._tensors(), self.processes)
        set_steps(self.optimizer, self.trained.values(), state.step)
        return state

    def _tensors(self) -> dict[str, Tensor]:
        moments = optimizer_tensors(self.optimizer, self.trained)
        return {**checkpoint.model_tensors(self.model), **moments}

    def _check_same(self, path: Path, state: TrainingState, streams: int) -> None:
        differing = changed(state.recipe, self.recipe.model_dump(mode="json"))
        differing += checkpoint.differing(state.model, checkpoint.facts(self.model.config))
        if len(state.streams) != streams:
            differing.append(f"streams: {len(state.streams)} in the checkpoint, {streams} here")
        if differing:
            raise StateError(
                f"{path} belongs to another training; name another folder, or remove it. "
                + "; ".join(differing)
            )
