"""How well captions say what titles say, beside two captioners that need no training.

The measure that decides is the F1 of words on the images of new words: it and the rule `is_better`
were written before any figure was known.

Shapes: N images, C the width of CLIP's embeddings.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

OURS, FREQUENT, NEAREST = "captioner", "most frequent title", "title of CLIP's nearest image"
WORD_F1, EXACT, AGREEMENT = "word F1", "exact", "CLIP"
DRAWS: Final = 2000  # of the bootstrap
INTERVAL: Final = (2.5, 97.5)  # percentiles

Scores = Mapping[str, NDArray[np.float64]]
"""Name of a measure -> its value for each caption, float64 [N]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean, with its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """How good the captions of a method are by one measure."""

    method: str
    measure: str
    score: Estimate
    lead: Estimate | None  # of our captioner, on the same images; None for itself


def word_f1(said: str, title: str) -> float:
    """Return the F1 of the words of a caption against those of a title: ROUGE-1 without stemming.

    >>> word_f1("a red fox", "red fox")
    0.8
    """
    ours, theirs = Counter(said.split()), Counter(title.split())
    total = ours.total() + theirs.total()
    return 2 * (ours & theirs).total() / total if total else 0.0


def scores(
    said_N: Sequence[str],
    titles_N: Sequence[str],
    said_NC: NDArray[np.float32],
    image_NC: NDArray[np.float32],
) -> Scores:
    """Return all measures of some captions.

    Args:
        said_N: the captions, in lower case and without punctuation, as the titles.
        titles_N: the titles.
        said_NC: CLIP's embeddings of the captions, of length 1.
        image_NC: of the images.
    """
    both = [*zip(said_N, titles_N, strict=True)]
    return {
        WORD_F1: np.array([word_f1(said, title) for said, title in both]),
        EXACT: np.array([float(said == title) for said, title in both]),
        AGREEMENT: (said_NC * image_NC).sum(axis=1).astype(np.float64),
    }


def most_frequent(captions: Sequence[str]) -> str:
    """Return the caption of most images, the first in alphabetical order of several.

    >>> most_frequent(["fox", "dog", "fox", "dog", "cat"])
    'dog'
    """
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
    return [captions[int(number)] for number in (held_NC @ train_NC.T).argmax(axis=1)]


def estimate(values_N: NDArray[np.float64], groups_N: Sequence[str]) -> Estimate:
    """Return the mean, with an interval by a bootstrap that draws whole groups.

    Images of a group are alike, and so are their scores.
    """
    names, group_N = np.unique(np.asarray(groups_N), return_inverse=True)
    sums = np.bincount(group_N, values_N, len(names))
    sizes = np.bincount(group_N, minlength=len(names))
    draws = np.random.default_rng(0).integers(0, len(names), (DRAWS, len(names)))
    means = sums[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    low, high = np.percentile(means, INTERVAL)
    return Estimate(mean=float(values_N.mean()), low=float(low), high=float(high))


def compare(found: Mapping[str, Scores], groups_N: Sequence[str]) -> list[Line]:
    """Return a line for each method and measure.

    Args:
        found: the scores of each method, ours among them.
        groups_N: of the images.
    """
    return [
        Line(
            method=method,
            measure=measure,
            score=estimate(values, groups_N),
            lead=None if method == OURS else estimate(found[OURS][measure] - values, groups_N),
        )
        for method, measures in found.items()
        for measure, values in measures.items()
    ]


def is_better(lines: Sequence[Line]) -> bool:
    """Whether the captioner leads every other method by the F1 of words, its interval above 0."""
    leads = [line.lead for line in lines if line.measure == WORD_F1 and line.lead]
    return all(lead.low > 0 for lead in leads)
