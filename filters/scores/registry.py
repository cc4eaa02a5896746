"""The scorers that a recipe can name."""

from collections.abc import Iterable

from filters.scorer import Device, Scorer
from filters.signal import Column
from schemas import score_config as recipe


def make_scorer(config: recipe.Scorer, device: Device) -> Scorer:
    """Return a scorer; its model is loaded when it first scores."""
    raise KeyError(config.score)


def score_columns(scorers: Iterable[recipe.Scorer]) -> tuple[Column, ...]:
    """Return the columns of scorers, in order; no model is loaded."""
    return tuple(column for config in scorers for column in make_scorer(config, Device()).columns)
