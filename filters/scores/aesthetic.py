"""Predicted rating of an image's looks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from filters.scorer import Batch, Device, Scores, Subject
from filters.scores.clip_identity import clip_identity
from filters.signal import Column
from schemas.score_config import AestheticScore, ClipModel


@dataclass(frozen=True, slots=True, kw_only=True)
class AestheticScorer:
    """Rating of about 1 to 10, by a linear head or the improved aesthetic predictor of LAION.

    The published heads read ViT-L/14 (768 values) and ViT-B/32 or B/16 (512) with OpenAI's
    weights; a head of another width than the embeddings is an error. The text is not read.
    """

    config: AestheticScore
    device: Device

    needs_image = True

    @property
    def columns(self) -> tuple[Column, ...]:
        """The rating."""
        meaning = f"predicted rating of looks on CLIP {self.config.clip.model}, about 1 to 10"
        return (Column(name=self.config.name, type=pa.float32(), meaning=meaning, high=10.0),)

    @property
    def clips(self) -> tuple[ClipModel, ...]:
        """The CLIP of the recipe."""
        return (self.config.clip,)

    def identity(self) -> Mapping[str, Any]:
        """Return the head's sha256, and the CLIP under it."""
        return {
            "scorer": "aesthetic",
            "version": 1,
            "head_sha256": self.config.head_sha256,
            "clip": clip_identity(self.config.clip, self.device),
        }

    def prepare(self, subject: Subject) -> None:
        """Return nothing: only the embedding of the image is read."""

    def score(self, batch: Batch) -> Scores:
        """Return the rating of each image."""
        from filters.scores.heads import AESTHETIC, head_scores

        found_B = head_scores(
            self.config.clip, self.config.head, self.config.head_sha256, AESTHETIC, batch
        )
        return {self.config.name: found_B}
