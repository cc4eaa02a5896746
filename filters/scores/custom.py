"""A score by any callable."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from PIL.Image import Image

from filters.scorer import Batch, Device, ScorerError, Scores, Subject
from filters.scores.process_cache import once_a_process
from filters.signal import Column
from schemas.score_config import CustomScore


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomScorer:
    """The value of a callable for each image and its text.

    It is called as `callable(images, texts)`, with RGB images and as many texts, and
    returns as many numbers. Whether a value depends on its own image and text alone is up to it.
    """

    config: CustomScore
    device: Device

    needs_image = True
    clips = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """Its value."""
        meaning = f"value of {self.config.callable}"
        return (Column(name=self.config.name, type=pa.float64(), meaning=meaning),)

    def identity(self) -> Mapping[str, Any]:
        """Return the callable's name, and the version that the recipe gives it."""
        return {
            "scorer": "custom",
            "version": 1,
            "callable": self.config.callable,
            "callable_version": self.config.version,
            "max_side": self.config.max_side,
        }

    def prepare(self, subject: Subject) -> Image:
        """Return the image, shrunk to `max_side`."""
        side = self.config.max_side
        if max(subject.image.size) <= side:
            return subject.image
        smaller = subject.image.copy()
        smaller.thumbnail((side, side))
        return smaller

    def score(self, batch: Batch) -> Scores:
        """Return the callable's value for each image, of which it is given copies.

        Raises:
            ScorerError: it cannot be imported, or did not return a number for each image.
            Exception: of the callable; a call of sys.exit is a RuntimeError.
        """
        try:
            return {self.config.name: self._values(batch)}
        except SystemExit as error:  # would end the process of a worker
            raise RuntimeError(f"{self.config.callable} called sys.exit({error.code!r})") from error

    def _values(self, batch: Batch) -> list[float]:
        place = self.config.callable
        images = [image.copy() for image in batch.prepared]  # it may draw on them
        found = imported(place, "scorer")(images, list(batch.texts))
        try:
            values = [float(value) for value in found]
        except (TypeError, ValueError) as error:
            raise ScorerError(f"{place} returned no numbers: {error}") from error
        if len(values) != len(batch.texts):
            raise ScorerError(f"{place} returned {len(values)} scores, expected {len(batch.texts)}")
        return values


@once_a_process
def imported(place: str, what: str) -> Callable[[Sequence[Image], Sequence[str]], Sequence[float]]:
    """Import a user's callable.

    Args:
        place: `MODULE:NAME`; a module must be installed, or be in a folder of PYTHONPATH.
        what: the callable's part in a recipe, for errors.

    Raises:
        ScorerError: it cannot be imported, or is no callable.
    """
    module, _, name = place.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:  # a module runs any code when it is imported
        said = f"{type(error).__name__}: {error}"
        raise ScorerError(f"{what} {place}: {said}; expected MODULE:NAME") from error
    if not callable(found):
        raise ScorerError(f"{what} {place}: {type(found).__name__}, expected a callable")
    made: Any = found
    return made
