"""Scorers with open_clip's CLIP: similarity to the prompt, and predicted aesthetic rating."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image as images
from PIL.Image import Image
from torch import Tensor, nn

from model.bundled_clip import BUNDLED, bundled_clip
from model.preferences.head import read_head
from schemas.store.errors import UserError


class ScorerError(UserError, ValueError):
    """A scorer that cannot be loaded, or that does not return scores."""


class ClipScorer:
    """Cosine of CLIP's embeddings of image and prompt, from -1 to 1 (CLIPScore, unscaled).

    Args:
        model: open_clip's name of the model, or `bundled` for the small one of this package.
        weights: a tag or a file; "" if the model's name includes the weights.
        device: torch's name of the device.

    Raises:
        ScorerError: there is no such model, or the weights do not fit.
    """

    def __init__(self, model: str, weights: str, device: str = "cpu") -> None:
        if model == BUNDLED:
            model, weights = bundled_clip()[0], ""
        try:
            import open_clip

            # open_clip's type hints are wrong: this returns two values.
            made: Any = open_clip.create_model_from_pretrained(
                model, pretrained=weights or None, device=device
            )
            self._model, self._preprocess = made
            self._tokenizer = open_clip.get_tokenizer(model)
        except ModuleNotFoundError as error:
            raise ScorerError(f"{error}; pip install 'vargpt-corpus[clip]'") from error
        except (RuntimeError, OSError, ValueError, KeyError) as error:
            raise ScorerError(f"CLIP {model} {weights}: {error}") from error
        self._device = device
        self._model.eval()

    def __call__(self, images: Sequence[Image], prompts: Sequence[str]) -> list[float]:
        """Return the cosine of each image and its prompt; a long prompt is cut."""
        with torch.no_grad():
            words = self._tokenizer(list(prompts)).to(self._device)
            text_BC = self._model.encode_text(words, normalize=True)
            return (self.embed(images) * text_BC).sum(dim=1).tolist()

    def embed(self, images: Sequence[Image]) -> Tensor:
        """Return the images' embeddings, of length 1, float32 [B, C]."""
        pixels = torch.stack([self._preprocess(image) for image in images])
        with torch.no_grad():
            return self._model.encode_image(pixels.to(self._device), normalize=True).float()


class AestheticScorer:
    """An improved-aesthetic-predictor on CLIP's embeddings, about 1 to 10; the prompt is not read.

    Args:
        model: as `ClipScorer`; the published heads need ViT-L-14 with OpenAI's weights.
        weights: as `ClipScorer`.
        head: URL of the predictor's weights.
        device: torch's name of the device.

    Raises:
        ScorerError: as `ClipScorer`, or the head has another width.
        CheckpointError: the head cannot be read.
    """

    def __init__(self, model: str, weights: str, head: str, device: str = "cpu") -> None:
        self._clip = ClipScorer(model, weights, device)
        self._head = read_head(head).to(device)
        width = _width(self._clip)
        first = next(layer for layer in self._head if isinstance(layer, nn.Linear))
        if first.in_features != width:
            raise ScorerError(
                f"{head} reads embeddings of width {first.in_features}, but CLIP {model} returns "
                f"width {width}"
            )

    def __call__(self, images: Sequence[Image], prompts: Sequence[str]) -> list[float]:
        """Return the predicted rating of each image."""
        with torch.no_grad():
            return self._head(self._clip.embed(images)).squeeze(1).tolist()


def _width(clip: ClipScorer) -> int:
    return clip.embed([images.new("RGB", (8, 8))]).shape[1]
