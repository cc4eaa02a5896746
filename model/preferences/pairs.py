"""The choice of the preferred image of a pair, as pure functions of scores.

A pair is dropped if the scores of its images differ too little; that is a decision, not an error.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

TIE: Final = "tie"
SMALL_MARGIN: Final = "small_margin"


@dataclass(frozen=True, kw_only=True, slots=True)
class Preference:
    """The numbers of the chosen and the rejected image; `GIVEN` is the prompt's own image."""

    chosen: int
    rejected: int
    margin: float  # score of the chosen minus the rejected; 0.0 if nothing was scored


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """The reason why there is no pair."""

    reason: str  # tie or small_margin
    detail: str  # a sentence with the scores


GIVEN: Final = -1


def choose(scores: Sequence[float], given: float | None, margin: float) -> Preference | Dropped:
    """Choose two images of a prompt, one over the other.

    Args:
        scores: of the model's own images, finite; [] where nothing is scored.
        given: of the image that the prompt came with; None where it has none.
        margin: least difference that counts.
    """
    if not scores:
        return given_and_first()
    if given is None:
        return best_and_worst(scores, margin)
    return given_and_worst(given, scores, margin)


def best_and_worst(scores: Sequence[float], margin: float) -> Preference | Dropped:
    """Choose the best of the model's images over the worst; on a tie, the first of each.

    Args:
        scores: of two images or more, finite; higher is better.
        margin: least difference of a pair, inclusive.

    Raises:
        ValueError: there are fewer than two scores, or one is not finite.

    >>> best_and_worst([0.1, 0.5, 0.3], 0.4)
    Preference(chosen=1, rejected=0, margin=0.4)
    """
    _check(scores, at_least=2)
    numbers = range(len(scores))
    best = max(numbers, key=lambda number: scores[number])
    worst = min(numbers, key=lambda number: scores[number])
    return _decided(best, worst, scores[best] - scores[worst], margin, scores)


def given_and_worst(given: float, scores: Sequence[float], margin: float) -> Preference | Dropped:
    """Choose the prompt's own image over the worst of the model's images.

    Args:
        given: score of the prompt's own image.
        scores: of the model's images, one or more, finite.
        margin: least difference, inclusive; a given image below the worst gives no pair either.

    Raises:
        ValueError: there are no scores, or one is not finite.
    """
    _check([given, *scores], at_least=2)
    worst = min(range(len(scores)), key=lambda number: scores[number])
    return _decided(GIVEN, worst, given - scores[worst], margin, [given, *scores])


def given_and_first() -> Preference:
    """Choose the prompt's own image over the model's first, as the paper does.

    Nothing is scored: VARGPT-v1.1 prefers the image of a stronger model.
    """
    return Preference(chosen=GIVEN, rejected=0, margin=0.0)


def _decided(
    chosen: int, rejected: int, difference: float, margin: float, scores: Sequence[float]
) -> Preference | Dropped:
    listed = ", ".join(f"{score:.6g}" for score in scores)
    if difference == 0:
        return Dropped(reason=TIE, detail=f"scores {listed} are equal")
    if difference < margin:
        detail = f"scores {listed} differ by {difference:.6g}, expected {margin:g} or more"
        return Dropped(reason=SMALL_MARGIN, detail=detail)
    return Preference(chosen=chosen, rejected=rejected, margin=difference)


def _check(scores: Sequence[float], at_least: int) -> None:
    if len(scores) < at_least or not all(map(math.isfinite, scores)):
        raise ValueError(f"expected {at_least} finite scores or more, got {list(scores)}")
