"""The CLIP that teaches the encoder, finds nearest neighbours and judges captions."""

from collections.abc import Sequence
from hashlib import file_digest
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from filters.scorer import Device
from filters.scores.bundled_clip import WEIGHTS, bundled_clip
from filters.scores.clip_encoder import ClipEncoder, encoder
from schemas.score_config import BUNDLED, LOCAL_DIR, ClipModel

AT_ONCE: Final = 128  # images or texts


def identity(model: str) -> str:
    """Return the hash of a local CLIP's weights, or the name of another.

    Args:
        model: open_clip's name with its prefix, or `bundled`.

    Raises:
        ScorerError: the bundled one is not there.
    """
    name = bundled_clip() if model == BUNDLED else model
    weights = Path(name.removeprefix(LOCAL_DIR)) / WEIGHTS
    if not name.startswith(LOCAL_DIR) or not weights.exists():
        return name
    with weights.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def load(model: str) -> ClipEncoder:
    """Load a CLIP of this process.

    Raises:
        ScorerError: open_clip or the model is missing, or the weights are damaged.
    """
    return encoder(ClipModel(model=model), Device())


def embed_images(clip: ClipEncoder, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return the embeddings of images, uint8 [H, W, 3]: float32 [N, C], each of length 1."""
    batches = (images[start : start + AT_ONCE] for start in range(0, len(images), AT_ONCE))
    return np.concatenate(
        [
            clip.embed_images([clip.prepare(Image.fromarray(image)) for image in batch])
            for batch in batches
        ]
    )


def embed_texts(clip: ClipEncoder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return the embeddings of texts, float32 [N, C], each of length 1."""
    different = [*dict.fromkeys(texts)]
    batches = (different[start : start + AT_ONCE] for start in range(0, len(different), AT_ONCE))
    found_TC = np.concatenate([clip.embed_texts(batch) for batch in batches])
    place = {text: number for number, text in enumerate(different)}
    return found_TC[[place[text] for text in texts]]
