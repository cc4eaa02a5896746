"""Scores: values that need a model, computed in batches and stored beside the signals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from filters.signal import Column
from schemas.score_config import ClipModel
from schemas.store.errors import UserError

# One value an image, in the order of the batch.
Scores: TypeAlias = Mapping[str, Sequence[Any] | NDArray[Any]]


class ScorerError(UserError, ValueError):
    """A scorer that cannot be loaded, or does not return the scores that it should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Where a model runs, and the precision of its convolutions and matrix products."""

    name: str = "cpu"  # torch's
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is scored: an image and its text."""

    key: str
    image: Image  # RGB, upright, alpha flattened
    text: str  # of the source, cleaned; '' if there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Prepared subjects. `embeddings` of a CLIP are computed at most once a batch."""

    keys: Sequence[str]
    texts: Sequence[str]
    prepared: Sequence[Any]  # what the scorer's `prepare` returned
    # Returns the images' embeddings by a CLIP that the scorer names in `clips`: float32 [B, C],
    # each of length 1.
    embeddings: Callable[[ClipModel], NDArray[np.float32]]


class Scorer(Protocol):
    """Scores images and texts; a score depends on its own image and text alone.

    A scorer is made from its section of the recipe alone. It loads its model when it first scores,
    once a process.
    """

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of its scores; no model is loaded."""
        ...

    @property
    def clips(self) -> tuple[ClipModel, ...]:
        """The CLIPs whose image embeddings it reads."""
        ...

    @property
    def needs_image(self) -> bool:
        """Whether it reads the image; one that reads the text alone costs no decoding."""
        ...

    def identity(self) -> Mapping[str, Any]:
        """Return what decides its scores beside image and text, as JSON values.

        The name of the scorer, its version, the sha256 of its weights, and the preprocessing. No
        path and no device.
        """
        ...

    def prepare(self, subject: Subject) -> Any:
        """Return what `score` needs of an image, small; called in decode threads.

        A model that runs on the CPU in any case is run here, so that threads run it side by side.
        """
        ...

    def score(self, batch: Batch) -> Scores:
        """Return the values of each column; the caller checks that they are finite.

        Raises:
            ScorerError: a model cannot be loaded, or does not fit the embeddings.
        """
        ...
