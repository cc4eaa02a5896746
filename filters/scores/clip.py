"""CLIP similarity of an image and its text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from filters.scorer import Batch, Device, Scores, Subject
from filters.scores.clip_identity import clip_identity
from filters.signal import Column
from schemas.score_config import ClipModel, ClipScore


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipScorer:
    """Cosine of CLIP's embeddings of image and text, -1 to 1 (CLIPScore without its factor).

    An image without a text gets the cosine with the empty text.
    """

    config: ClipScore
    device: Device

    needs_image = True

    @property
    def columns(self) -> tuple[Column, ...]:
        """The similarity, and the image's embedding if it is asked for."""
        name, model = self.config.name, self.config.clip.model
        similarity = Column(
            name=f"{name}_similarity",
            type=pa.float32(),
            meaning=f"cosine of image and text by CLIP {model}",
            low=-1.0,
        )
        embedding = Column(
            name=f"{name}_embedding",
            type=pa.list_(pa.float16()),
            meaning=f"image embedding of CLIP {model}, of length 1",
        )
        return (similarity, embedding) if self.config.embedding else (similarity,)

    @property
    def clips(self) -> tuple[ClipModel, ...]:
        """The CLIP of the recipe."""
        return (self.config.clip,)

    def identity(self) -> Mapping[str, Any]:
        """Return model, weights, precision and preprocessing."""
        return {"scorer": "clip", "version": 1, **clip_identity(self.config.clip, self.device)}

    def prepare(self, subject: Subject) -> None:
        """Return nothing: only the embedding of the image is read."""

    def score(self, batch: Batch) -> Scores:
        """Return the cosine of each image and its text, and the embeddings if asked for."""
        from filters.scores.clip_encoder import encoder

        texts_BC = encoder(self.config.clip, self.device).embed_texts(batch.texts)
        images_BC = batch.embeddings(self.config.clip)
        cosine_B = (images_BC.astype(np.float64) * texts_BC).sum(axis=1).clip(-1, 1)
        scores: dict[str, Any] = {f"{self.config.name}_similarity": cosine_B.astype(np.float32)}
        if self.config.embedding:
            scores[f"{self.config.name}_embedding"] = list(images_BC.astype(np.float16))
        return scores
