"""Scores of a few images at once, outside of a build."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from filters.scorer import Batch, Device, Scorer, Scores, Subject
from schemas.score_config import ClipModel


def score_images(scorer: Scorer, subjects: Sequence[Subject], device: Device) -> Scores:
    """Return the scores of images and their texts.

    Args:
        scorer: made for the same device.
        subjects: one or more.
        device: of the CLIPs whose embeddings the scorer reads.

    Raises:
        ScorerError: a model cannot be loaded, or does not fit the embeddings.
    """

    @cache
    def embeddings(clip: ClipModel) -> NDArray[np.float32]:
        from filters.scores.clip_encoder import encoder

        made = encoder(clip, device)
        return made.embed_images([made.prepare(subject.image) for subject in subjects])

    return scorer.score(
        Batch(
            keys=[subject.key for subject in subjects],
            texts=[subject.text for subject in subjects],
            prepared=[scorer.prepare(subject) for subject in subjects],
            embeddings=embeddings,  # pyright: ignore[reportArgumentType] (pydantic: it has a hash)
        )
    )
