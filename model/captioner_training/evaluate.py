"""How well captions say what titles say, beside two captioners that need no training.

Shapes: N images.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

DRAWS: Final = 2000  # of the bootstrap
INTERVAL: Final = (2.5, 97.5)  # percentiles


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean, with its 95 % interval."""

    mean: float
    low: float
    high: float


def word_f1(said: str, title: str) -> float:
    """Return the F1 of the words of a caption against those of a title: ROUGE-1 without stemming.

    >>> word_f1("a red fox", "red fox")
    0.8
    """
    ours, theirs = Counter(said.split()), Counter(title.split())
    total = ours.total() + theirs.total()
    return 2 * (ours & theirs).total() / total if total else 0.0


def word_f1s(said_N: Sequence[str], titles_N: Sequence[str]) -> NDArray[np.float64]:
    """Return the F1 of each caption, float64 [N]."""
    return np.array([word_f1(*both) for both in zip(said_N, titles_N, strict=True)])


def chrf(said_N: Sequence[str], titles_N: Sequence[str]) -> NDArray[np.float64]:
    """Return the chrF of each caption, in [0, 1], float64 [N] (Popovic 2015)."""
    from torchmetrics.functional.text import chrf_score

    _, found = chrf_score(
        [*said_N], [[title] for title in titles_N], n_word_order=0, return_sentence_level_score=True
    )
    return found.double().numpy()


def most_frequent(captions: Sequence[str]) -> str:
    """Return the caption of most images, the first in alphabetical order of several."""
    counts = Counter(captions)
    return min(counts, key=lambda caption: (-counts[caption], caption))


def nearest(
    held_NC: NDArray[np.float32], train_NC: NDArray[np.float32], captions: Sequence[str]
) -> list[str]:
    """Return the caption of the training image with the greatest cosine to each held-out image.

    Args:
        held_NC: CLIP's embeddings of the held-out images, of length 1.
        train_NC: of the training images.
        captions: of the training images.
    """
    return [captions[number] for number in (held_NC @ train_NC.T).argmax(axis=1)]


def estimate(values_N: NDArray[np.float64], groups_N: Sequence[str]) -> Estimate:
    """Return the mean, with an interval by a bootstrap that draws whole groups.

    Images of a group are alike, and so are their scores.
    """
    names, group_N = np.unique(groups_N, return_inverse=True)
    sums = np.bincount(group_N, values_N, len(names))
    sizes = np.bincount(group_N, minlength=len(names))
    draws = np.random.default_rng(0).integers(0, len(names), (DRAWS, len(names)))
    means = sums[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    low, high = np.percentile(means, INTERVAL)
    return Estimate(mean=float(values_N.mean()), low=float(low), high=float(high))


def compare(
    scores: Mapping[str, NDArray[np.float64]], groups_N: Sequence[str], ours: str
) -> dict[str, dict[str, Estimate]]:
    """Return the mean score of each method, and by how much ours is above it on the same images.

    Args:
        scores: of each method, [N].
        groups_N: of the images.
        ours: name of our method.
    """
    return {
        name: {"score": estimate(values, groups_N)}
        | ({"ours above": estimate(scores[ours] - values, groups_N)} if name != ours else {})
        for name, values in scores.items()
    }
