"""The state of a training run on disk: whole or not there, and of one run alone."""

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
    """A state that cannot be read, or is of another run."""


class DivergedError(UserError, FloatingPointError):
    """A loss or a gradient that is not finite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """All that a run needs to go on, and that is written of it when it is done."""

    fingerprint: str  # of the plan, the network and the images
    step: int  # steps done
    seconds: float  # that they took
    network: dict[str, Tensor]  # weights as the last step left them
    averaged: dict[str, Tensor]  # their moving average, which is what is exported
    optimizer: dict[str, Any]
    curve: list[dict[str, float]] = field(default_factory=list)  # now and then: step, loss, PSNR
    unreadable: dict[str, str] = field(default_factory=dict)  # image -> why it was left out


def write_state(path: Path, state: State) -> None:
    """Replace a state at once: a run that is killed here keeps the one before."""
    written = io.BytesIO()
    torch.save({each.name: getattr(state, each.name) for each in fields(State)}, written)
    publish(path, written.getvalue())


def read_state(path: Path, device: str = "cpu") -> State:
    """Read a state without running its pickle; curve and unreadable images may be missing.

    Raises:
        FileNotFoundError: none was written yet.
        StateError: damaged, or no state of a training.
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
            f"{path}: not a state of train-tokenizer, or damaged ({error}); remove it to begin anew"
        ) from error
