"""CLIP by open_clip: embeddings of images and texts, of length 1.

Dimensions: B batch, C width of the embeddings.
"""

import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from filters.compute import Compute, Passes, one_thread
from filters.scorer import Device, ScorerError
from filters.scores.bundled_clip import bundled_clip
from filters.scores.clip_identity import MAX_ASPECT, is_tag
from filters.scores.local_weights import local_weights
from filters.scores.packages import packages_of
from filters.scores.pin import pinned_clip
from filters.scores.process_cache import once_a_process
from schemas.score_config import BUNDLED, ClipModel

CUDA_PASS_IMAGES: Final = 64
# More than any model reads: open_clip's tokenizer takes minutes for 100,000 letters without a gap.
TEXT_CHARS: Final = 2_000
# Words whose tokens open_clip's tokenizer keeps; it would keep those of every word of a corpus.
KEPT_WORDS: Final = 100_000
SUFFIXES: Final = (".safetensors", ".pt", ".pth", ".bin")


class ClipEncoder:
    """A CLIP on a device; an embedding depends neither on the batch nor on its order.

    Args:
        clip: model and weights. Weights are read by open_clip, without running a pickle.
        device: where, and with which precision; TF32 is of matrix products too.

    Raises:
        ScorerError: there is no such model, its weights do not fit or have another sha256, or a
            package is missing.
        ValueError: the device does not have the precision.
    """

    def __init__(self, clip: ClipModel, device: Device) -> None:
        on_cuda = torch.device(device.name).type == "cuda"
        pass_images = CUDA_PASS_IMAGES if on_cuda else 1  # bigger passes gain little on a CPU
        self._compute = Compute(
            device=device.name, precision=device.precision, pass_images=pass_images
        )
        self._images, self._texts = Passes(self._compute), Passes(self._compute)
        self._model, self._preprocess, self._tokenizer = _load(clip, device.name)
        self._first_words = dict(getattr(self._tokenizer, "cache", {}))

    @property
    def halvings(self) -> int:
        """How often memory ran out, and the passes were halved."""
        return self._images.halvings + self._texts.halvings

    def prepare(self, image: Image) -> Tensor:
        """Return the pixels that the network reads, float32 [3, height, width].

        An image that is longer than `MAX_ASPECT` times its short side is cropped to that first.
        """
        return self._preprocess(_without_ends(image))

    def embed_images(self, prepared: Sequence[Tensor]) -> NDArray[np.float32]:
        """Return the embeddings of prepared images, float32 [B, C], each of length 1.

        Raises:
            torch.OutOfMemoryError: there is not enough memory for one image.
        """
        return self._embed(self._images, torch.stack(list(prepared)), self._model.encode_image)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the embeddings of texts, float32 [B, C], each of length 1.

        A text is cut at the context length of the model, 77 tokens for most.

        Raises:
            torch.OutOfMemoryError: there is not enough memory for one text.
        """
        words = self._tokenizer([_readable(text) for text in texts])
        self._forget_words()
        return self._embed(self._texts, words, self._model.encode_text)

    def _embed(
        self, passes: Passes, batch_B: Tensor, encode: Callable[[Tensor], Tensor]
    ) -> NDArray[np.float32]:
        def work(part_B: Tensor) -> Tensor:
            with self._compute.network_arithmetic(matmul=True):
                found_BC = encode(part_B)
            return F.normalize(found_BC.float(), dim=1)

        with one_thread(), self._compute.arithmetic():
            return passes.run(batch_B, work).cpu().numpy()

    def _forget_words(self) -> None:
        kept = getattr(self._tokenizer, "cache", {})
        if len(kept) > KEPT_WORDS:
            kept.clear()
            kept.update(self._first_words)


@once_a_process
def encoder(clip: ClipModel, device: Device) -> ClipEncoder:
    """Return the encoder of this process; equal settings share one.

    Raises:
        ScorerError: as `ClipEncoder`.
    """
    return ClipEncoder(clip, device)


def _load(clip: ClipModel, device: str) -> tuple[Any, Any, Any]:
    """Return model, preprocessing and tokenizer."""
    with packages_of("clip"):
        import open_clip
    name = bundled_clip() if clip.model == BUNDLED else clip.model
    weights = _weights(name, clip)
    tag: dict[str, Any] = open_clip.get_pretrained_cfg(name, weights) or {}
    try:
        # open_clip's type hints are wrong: this returns two values.
        made: Any = open_clip.create_model_from_pretrained(
            name,
            pretrained=weights or None,
            device=device,
            # OpenAI's weights need it; without it open_clip warns, and computes something else.
            force_quick_gelu=bool(tag.get("quick_gelu")),
            weights_only=True,
        )
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:  # damaged weights raise nearly every class
        reason = " ".join(str(error).split())
        raise ScorerError(f"CLIP {clip.model} {clip.weights}: {reason}") from error
    model, preprocess = made
    return model.eval().requires_grad_(False), preprocess, tokenizer


def _weights(name: str, clip: ClipModel) -> str:
    """Return a tag, the path of a local file, or '' where the model's name includes the weights."""
    if ":" in name:
        pinned_clip(clip)
        return ""
    if not clip.weights:
        raise ScorerError(f"CLIP {name}: expected weights, a tag or a file")
    if is_tag(clip.weights):
        return pinned_clip(clip).weights
    if not clip.weights.endswith(SUFFIXES):
        expected = ", ".join(SUFFIXES)
        raise ScorerError(f"CLIP {name} {clip.weights}: expected a file that ends in {expected}")
    return str(local_weights(clip.weights, clip.weights_sha256))


def _without_ends(image: Image) -> Image:
    width, height = image.size
    longest = MAX_ASPECT * min(width, height)
    if max(width, height) <= longest:
        return image
    wide, high = min(width, longest), min(height, longest)
    left, top = (width - wide) // 2, (height - high) // 2
    return image.crop((left, top, left + wide, top + high))


def _readable(text: str) -> str:
    """Return a text's beginning as tokenizers accept it: one line without control characters."""
    spaced = (" " if unicodedata.category(char) == "Cc" else char for char in text[:TEXT_CHARS])
    return " ".join("".join(spaced).encode("utf-8", "replace").decode().split())
