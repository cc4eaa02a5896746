"""How well a CLIP finds the title of an image, and the image of a title.

Shapes: N images, T distinct titles, C the width of the embeddings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

AT_ONCE = 64  # images or texts


@dataclass(frozen=True, kw_only=True, slots=True)
class Retrieval:
    """Shares of queries with a right answer among the first 1 and 10, and the same by chance."""

    r1: float
    r10: float
    chance_r1: float
    chance_r10: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """The figures of some images and their titles."""

    images: int
    titles: int
    image_to_text: Retrieval
    text_to_image: Retrieval
    auc: float  # of an image with its title against the image with another title; chance 0.5


def figures(image_NC: Tensor, text_TC: Tensor, title_N: Sequence[int]) -> Figures:
    """Compare embeddings of length 1.

    Args:
        image_NC: of the images.
        text_TC: of the distinct titles.
        title_N: the number of each image's title.
    """
    cosine_NT = (image_NC @ text_TC.T).double().numpy()
    is_own_NT = np.eye(len(text_TC), dtype=bool)[np.asarray(title_N)]
    return Figures(
        images=len(image_NC),
        titles=len(text_TC),
        image_to_text=retrieval(cosine_NT, is_own_NT),
        text_to_image=retrieval(cosine_NT.T, is_own_NT.T),
        auc=auc(cosine_NT[is_own_NT], cosine_NT[~is_own_NT]),
    )


def retrieval(score_QA: NDArray[np.float64], is_right_QA: NDArray[np.bool_]) -> Retrieval:
    """Rank the answers of each query; of equal scores the right answer comes last.

    >>> retrieval(np.array([[3.0, 1.0], [3.0, 1.0]]), np.eye(2, dtype=bool)).r1
    0.5
    """
    best_Q = np.where(is_right_QA, score_QA, -np.inf).max(axis=1, keepdims=True)
    rank_Q = ((score_QA >= best_Q) & ~is_right_QA).sum(axis=1)
    right_Q, answers = is_right_QA.sum(axis=1), is_right_QA.shape[1]
    return Retrieval(
        r1=float((rank_Q < 1).mean()),
        r10=float((rank_Q < 10).mean()),
        chance_r1=float(np.mean([chance(int(right), answers, 1) for right in right_Q])),
        chance_r10=float(np.mean([chance(int(right), answers, 10) for right in right_Q])),
    )


def chance(right: int, answers: int, first: int) -> float:
    """Return the probability that a random order has a right answer among the first.

    >>> round(chance(1, 100, 10), 3), chance(100, 100, 1)
    (0.1, 1.0)
    """
    first = min(first, answers)
    return 1 - comb(answers - right, first) / comb(answers, first)


def auc(own: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the probability that a score of `own` is above one of `other`; ties count half.

    >>> auc(np.array([1.0, 3.0]), np.array([0.0, 2.0]))
    0.75
    """
    ordered = np.sort(other)
    below = np.searchsorted(ordered, own, "left") + np.searchsorted(ordered, own, "right")
    return float(below.mean() / 2 / len(other))


def evaluate(
    model: Any,
    preprocess: Any,
    tokenizer: Any,
    images: Sequence[NDArray[np.uint8]],
    titles_N: Sequence[str],
) -> Figures:
    """Embed images and titles as a user of open_clip does, and compare them."""
    titles = sorted(set(titles_N))
    number = {title: place for place, title in enumerate(titles)}
    with torch.no_grad():
        image_NC = torch.cat(
            [
                model.encode_image(
                    torch.stack([preprocess(Image.fromarray(image)) for image in batch]),
                    normalize=True,
                )
                for batch in _batches(images)
            ]
        )
        text_TC = torch.cat(
            [model.encode_text(tokenizer(list(b)), normalize=True) for b in _batches(titles)]
        )
    return figures(image_NC, text_TC, [number[title] for title in titles_N])


def _batches(values: Sequence[Any]) -> list[Sequence[Any]]:
    return [values[start : start + AT_ONCE] for start in range(0, len(values), AT_ONCE)]
