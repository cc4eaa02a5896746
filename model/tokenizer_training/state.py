"""The state of a training run on disk: written atomically, for one run only."""

import io
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from schemas.store.errors import UserError
from schemas.store.whole_file import publish

STATE: Final = "state.pt"


class StateError(UserError):
    """A state that cannot be read, or belongs to another run."""


class DivergedError(UserError, FloatingPointError):
    """A loss or a gradient that is not finite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """The data that resuming and export need."""

    fingerprint: str  # of the plan, the network and the images
    step: int  # steps done
    seconds: float  # duration of these steps
    network: dict[str, Tensor]  # weights after the last step
    averaged: dict[str, Tensor]  # moving average of the weights, for export
    optimizer: dict[str, Any]
    curve: list[dict[str, float]] = field(default_factory=list)  # step, loss, PSNR
    unreadable: dict[str, str] = field(default_factory=dict)  # image -> reason why it was skipped


def write_state(path: Path, state: State) -> None:
    """Replace a state atomically: a run killed here keeps the previous state."""
    written = io.BytesIO()
    torch.save({each.name: getattr(state, each.name) for each in fields(State)}, written)
    publish(path, written.getvalue())


def read_state(path: Path, device: str = "cpu") -> State:
    """Read a state without running its pickle; curve and unreadable images may be missing.

    Raises:
        FileNotFoundError: there is no state yet.
        StateError: the file is damaged, or no state of a training.
    """
    try:
        found = torch.load(path, map_location=device, weights_only=True)
        return State(
            **{each.name: found[each.name] for each in fields(State) if each.name in found}
        )
    except OSError:
        raise
    except Exception as error:  # damaged pickles raise nearly every class, IndexError included
        raise StateError(
            f"{path}: damaged, or no state of train-tokenizer ({error}); remove it to start again"
        ) from error
