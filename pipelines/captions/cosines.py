"""How well captions agree with their images, by the embeddings that a scorer stored."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from filters.scorer import Device
from pipelines.captions.choose import Row
from pipelines.runtime.device import device_lock
from pipelines.runtime.gpu import device_name
from pipelines.runtime.sidecar import column, read_table, sidecar_path
from schemas.recipe import Recipe
from schemas.score_config import ClipModel, ClipScore
from schemas.store.storage import Storage


def clip_of(recipe: Recipe, scorer: str) -> ClipModel | None:
    """Return the CLIP of a scorer that stores embeddings; None if there is no such scorer."""
    for each in recipe.score.scorers:
        if isinstance(each, ClipScore) and each.name == scorer and each.embedding:
            return each.clip
    return None


@dataclass(kw_only=True)
class Cosines:
    """Compares captions with the images of one shard."""

    store: Storage
    shard: int
    scorer: str
    clip: ClipModel

    def __call__(self, row: Row, caption: str) -> float | None:
        """Return the cosine of an image and a caption; None if the image has no embedding."""
        from filters.scores.clip_encoder import encoder  # here, because it imports torch

        image = self._images.get(row["key"])
        if image is None:
            return None
        with device_lock:
            [text] = encoder(self.clip, Device(name=device_name())).embed_texts([caption])
        return float(np.dot(np.asarray(image, np.float32), text))

    @cached_property
    def _images(self) -> dict[str, Any]:
        name = f"{self.scorer}_embedding"
        scores = read_table(self.store, sidecar_path("scores", self.shard), ["key", name])
        return dict(zip(column(scores, "key"), column(scores, name), strict=True))
