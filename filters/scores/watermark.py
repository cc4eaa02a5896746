"""Probability that an image has a watermark."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from filters.scorer import Batch, Device, Scores, Subject
from filters.signal import Column
from schemas.score_config import WatermarkScore

if TYPE_CHECKING:
    from filters.scores.watermark_network import WatermarkNetwork

SIDE: Final = 256  # pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class WatermarkScorer:
    """Probability of a watermark, 0 to 1, by LAION's detector (LAION-5B-WatermarkDetection).

    The aspect is not kept: the image is brought to 256 x 256 px, as in training.
    """

    config: WatermarkScore
    device: Device

    needs_image = True
    clips = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """The probability."""
        meaning = "probability of a watermark, by LAION's detector"
        return (Column(name=self.config.name, type=pa.float32(), meaning=meaning),)

    def identity(self) -> Mapping[str, Any]:
        """Return weights, precision and preprocessing."""
        return {
            "scorer": "watermark",
            "version": 1,
            "weights_sha256": self.config.weights_sha256,
            "precision": self.device.precision,
            "preprocessing": f"{SIDE} x {SIDE} bilinear, ImageNet's mean and deviation",
        }

    def prepare(self, subject: Subject) -> NDArray[np.uint8]:
        """Return the pixels that the network reads, uint8 [height, width, 3]."""
        return np.asarray(subject.image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))

    def score(self, batch: Batch) -> Scores:
        """Return the probability of each image."""
        return {self.config.name: self._network()(np.stack(batch.prepared))}

    def _network(self) -> "WatermarkNetwork":
        from filters.scores.watermark_network import watermark_network

        return watermark_network(self.config.weights, self.config.weights_sha256, self.device)
