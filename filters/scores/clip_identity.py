"""Which CLIP computes a score, without loading it."""

import re
from collections.abc import Mapping
from typing import Any, Final

from filters.scorer import Device
from schemas.score_config import LOCAL_DIR, ClipModel

# A crop of the centre reads none of the rest; resizing all of a picture of 1 x 20,000 pixels to a
# short side of 224 would take 3 GB.
MAX_ASPECT: Final = 16

PREPROCESSING: Final = (
    f"open_clip's of the model, after a crop to {MAX_ASPECT} times the short side around the "
    "centre; text cut at the model's context length"
)


def clip_identity(clip: ClipModel, device: Device) -> Mapping[str, Any]:
    """Return what decides the embeddings of a CLIP, as JSON values without any path."""
    return {
        "model": _name(clip.model),
        "weights": clip.weights if is_tag(clip.weights) else "",
        "weights_sha256": clip.weights_sha256,
        "precision": device.precision,
        "preprocessing": PREPROCESSING,
    }


def is_tag(weights: str) -> bool:
    """Tell the name of published weights, which open_clip downloads, from a path or URL.

    >>> is_tag("laion2b_s32b_b82k"), is_tag("gs://bucket/vit.safetensors"), is_tag("vit.pt")
    (True, False, False)
    """
    return re.fullmatch(r"[\w-]+", weights) is not None


def _name(model: str) -> str:
    return LOCAL_DIR.removesuffix(":") if model.startswith(LOCAL_DIR) else model
