"""Which of two images is preferred: pure functions of scores.

A pair is dropped where the scores do not tell its images apart; that is a decision, not a fault.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

TIE: Final = "tie"
SMALL_MARGIN: Final = "small_margin"


@dataclass(frozen=True, kw_only=True, slots=True)
class Preference:
    """Two candidates by their numbers; `GIVEN` is the image that the prompt came with."""

    chosen: int
    rejected: int
    margin: float  # score of the chosen above the rejected; 0.0 where nothing was scored


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """Why there is no pair."""

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
    """Choose the best of the model's own images over the worst, the first of equals.

    Args:
        scores: of two images or more, finite; higher is better.
        margin: least difference that counts; one that is equal does.

    Raises:
        ValueError: fewer scores, or one that is not finite.

    >>> best_and_worst([0.1, 0.5, 0.3], 0.4)
    Preference(chosen=1, rejected=0, margin=0.4)
    """
    _check(scores, at_least=2)
    numbers = range(len(scores))
    best = max(numbers, key=lambda number: scores[number])
    worst = min(numbers, key=lambda number: scores[number])
    return _decided(best, worst, scores[best] - scores[worst], margin, scores)


def given_and_worst(given: float, scores: Sequence[float], margin: float) -> Preference | Dropped:
    """Choose the image that the prompt came with over the worst of the model's own.

    Args:
        given: its score.
        scores: of the model's images, one or more, finite.
        margin: as `best_and_worst` has it; an image that scores below the model's is dropped too.

    Raises:
        ValueError: no scores, or one that is not finite.
    """
    _check([given, *scores], at_least=2)
    worst = min(range(len(scores)), key=lambda number: scores[number])
    return _decided(GIVEN, worst, given - scores[worst], margin, [given, *scores])


def given_and_first() -> Preference:
    """Choose the image that the prompt came with over the model's first, as the paper does.

    Nothing is scored: VARGPT-v1.1 takes the image of a stronger model as the better one.
    """
    return Preference(chosen=GIVEN, rejected=0, margin=0.0)


def _decided(
    chosen: int, rejected: int, difference: float, margin: float, scores: Sequence[float]
) -> Preference | Dropped:
    listed = ", ".join(f"{score:.6g}" for score in scores)
    if difference == 0:
        return Dropped(reason=TIE, detail=f"scores {listed} tell no two images apart")
    if difference < margin:
        detail = f"scores {listed} differ by {difference:.6g}, expected {margin:g} or more"
        return Dropped(reason=SMALL_MARGIN, detail=detail)
    return Preference(chosen=chosen, rejected=rejected, margin=difference)


def _check(scores: Sequence[float], at_least: int) -> None:
    if len(scores) < at_least or not all(map(math.isfinite, scores)):
        raise ValueError(f"expected {at_least} finite scores or more, got {list(scores)}")
