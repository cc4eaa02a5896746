"""Precision and recall of a threshold, estimated from a stratified sample of labelled rows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipelines.calibration import NO, YES

Z = 1.959964  # of a two-sided interval of 95 %


@dataclass(frozen=True, kw_only=True)
class Share:
    """An estimated share with its interval of 95 %; NaN where nothing is known."""

    value: float
    low: float
    high: float
    rows: float  # effective number of labelled rows


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How well a threshold agrees with the labels."""

    precision: Share  # of the rows that the rule keeps: those labelled yes
    recall: Share  # of the rows labelled yes: those that the rule keeps
    kept: float  # share of the rows that the rule keeps


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Labelled rows; arrays have an entry a row."""

    values: np.ndarray
    thresholds: np.ndarray  # of each row's source
    is_good: np.ndarray  # labelled yes, bool
    weights: np.ndarray  # rows of the corpus that each stands for
    sources: np.ndarray

    def of(self, mask: np.ndarray) -> "Labelled":
        """Return some of the rows."""
        return Labelled(
            values=self.values[mask],
            thresholds=self.thresholds[mask],
            is_good=self.is_good[mask],
            weights=self.weights[mask],
            sources=self.sources[mask],
        )


def labelled(sample: pa.Table) -> Labelled:
    """Return the rows labelled yes or no, weighted by what their stratum has in the corpus.

    A row that is skipped or not labelled is taken to be like the labelled ones of its stratum: each
    of those weighs rows of the stratum / labelled rows of it. A stratum without labels is left out.
    """
    label = np.array(sample["label"].to_pylist(), object)
    told = (label == YES) | (label == NO)
    stratum = np.array(sample["stratum"].to_pylist(), object)[told]
    _, which, counts = np.unique(stratum.astype(str), return_inverse=True, return_counts=True)
    rows = sample["stratum_rows"].to_numpy()[told]
    return Labelled(
        values=sample["value"].to_numpy()[told],
        thresholds=sample["threshold"].to_numpy()[told],
        is_good=(label == YES)[told],
        weights=rows / counts[which] if len(rows) else rows.astype(float),
        sources=np.array(sample["source"].to_pylist(), object)[told],
    )


def agreement(rows: Labelled, passes: np.ndarray) -> Agreement:
    """Compare a rule with labels.

    Args:
        rows: labelled rows.
        passes: whether the rule keeps each, bool.
    """
    total = rows.weights.sum()
    return Agreement(
        precision=weighted_share(rows.is_good[passes], rows.weights[passes]),
        recall=weighted_share(passes[rows.is_good], rows.weights[rows.is_good]),
        kept=float(rows.weights[passes].sum() / total) if total else math.nan,
    )


def weighted_share(hits: np.ndarray, weights: np.ndarray) -> Share:
    """Estimate a share from weighted rows, with Wilson's interval of 95 %.

    The share is p = sum(w * hit) / sum(w). The interval is Wilson's for p of n rows, where n is
    Kish's effective number, sum(w)^2 / sum(w^2):
    (p + z^2 / 2n -+ z * sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n), z = 1.96.

    >>> share = weighted_share(np.array([True] * 9 + [False]), np.ones(10))
    >>> round(share.low, 3), round(share.value, 3), round(share.high, 3)
    (0.596, 0.9, 0.982)
    """
    if not len(hits):
        return Share(value=math.nan, low=math.nan, high=math.nan, rows=0.0)
    p = float(weights[hits].sum() / weights.sum())
    n = float(weights.sum() ** 2 / np.square(weights).sum())
    middle = p + Z**2 / (2 * n)
    half = Z * math.sqrt(max(0.0, p * (1 - p)) / n + Z**2 / (4 * n**2))
    scale = 1 + Z**2 / n
    low, high = (middle - half) / scale, (middle + half) / scale
    return Share(value=p, low=max(0.0, low), high=min(1.0, high), rows=n)


def keeps(values: np.ndarray, bound: str, threshold: np.ndarray | float) -> np.ndarray:
    """Return whether a bound keeps each value, as `filters.rules` does."""
    return values >= threshold if bound == "min" else values <= threshold


def other_thresholds(rows: Labelled, steps: int = 10) -> Sequence[float]:
    """Return thresholds to compare: quantiles of the labelled values, each once."""
    if not len(rows.values):
        return ()
    found = np.quantile(rows.values, np.linspace(0, 1, steps + 1)[1:-1], method="lower")
    return sorted({float(value) for value in found})
