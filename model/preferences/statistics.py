"""Comparison of two models by their scores of the same held-out prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.data.manifest import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The change of the scores."""

    prompts: int
    before: float  # mean score
    after: float  # mean score
    difference: float  # of the means; positive is better
    low: float  # lower bound of the confidence interval of the difference
    high: float  # upper bound
    confidence: float
    wins: float  # share of the prompts whose score rose; ties count half


def compare(
    before: Sequence[float],
    after: Sequence[float],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compare scores of the same prompts, in the same order, by a paired bootstrap (BCa).

    Prompts are resampled with both scores, so that the difficulty of a prompt cancels out.

    Args:
        before: one score per prompt; the mean if a prompt has several images.
        after: the scores of the other model.
        confidence: of the interval.
        resamples: number of resamples.
        seed: of the resampling.

    Raises:
        DataError: there are fewer than two prompts, the numbers of scores differ, or a score is not
            finite.
    """
    from scipy import stats

    pairs = np.array([before, after], np.float64) if len(before) == len(after) else np.zeros((2, 0))
    if pairs.shape[1] < 2 or not np.isfinite(pairs).all():
        raise DataError(
            f"expected finite scores for two prompts or more, got {len(before)} before and "
            f"{len(after)} after: {list(before)[:3]}..., {list(after)[:3]}..."
        )
    differences = pairs[1] - pairs[0]
    low = high = float(differences[0])
    if np.ptp(differences) > 0:  # otherwise BCa is not defined
        interval = stats.bootstrap(
            (differences,),
            np.mean,
            n_resamples=resamples,
            confidence_level=confidence,
            rng=np.random.default_rng(seed),
        ).confidence_interval
        low, high = float(interval.low), float(interval.high)
    return Comparison(
        prompts=pairs.shape[1],
        before=float(pairs[0].mean()),
        after=float(pairs[1].mean()),
        difference=float(differences.mean()),
        low=low,
        high=high,
        confidence=confidence,
        wins=float(np.mean(differences > 0) + np.mean(differences == 0) / 2),
    )
