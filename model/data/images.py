"""Images of a sample: codes of a generated image, patches of an input image.

`Targets` turns codes into the inputs and targets of a next-scale model, on the device.

Bitwise self-correction (Infinity, arXiv 2412.04431, section 3.4) trains with bits flipped at
random, so that later scales learn to correct earlier mistakes. The labels after a flip are computed
from the features: exactly if features are stored, otherwise approximately from the codes.

Shapes: N images, L codes per image, C H W of the features, D and K as in `Batch`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from model.data.manifest import DataError
from model.data.order import random_words
from model.data.plan import SelfCorrection
from model.tokenizers.infinity_bsq import InfinityBsq
from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.tokenizers.protocol import Codes, Schedule, scale_slices
from model.tokenizers.var_vqvae import VarVqvae

if TYPE_CHECKING:
    from transformers import Qwen2VLImageProcessorPil

FLIP_PERCENT: Final = 31  # a scale flips 0 to 30 % of its bits, each percentage equally likely
FLIP_SCALES: Final = 13  # from the first; the published noise_apply_layers


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StoredImage:
    """The stored arrays of a generated image."""

    schedule: Schedule  # of the tokenizer's own grid
    codes: NDArray[Any]  # [L] or [L, words]
    features: NDArray[np.float16] | None = None  # [C, H, W]
    flips: NDArray[np.uint8] | None = None  # bool [L, d] packed along the last axis


def draw_flips(schedule: Schedule, bits: int, *salt: object) -> NDArray[np.uint8]:
    """Draw which bits to flip, packed; every scale of every image has its own share.

    The published code draws one share per scale for the whole batch; the mean is 15 % in both.
    """
    scales = scale_slices(schedule)
    length = scales[-1].stop
    words = random_words(len(scales) + -(-length * bits // 4), *salt)
    shares, draws = words[: len(scales)] % FLIP_PERCENT, words[len(scales) :].view("<u2")
    limits = np.zeros(length, np.uint16)
    for share, part in zip(shares[:FLIP_SCALES].tolist(), scales, strict=False):
        limits[part] = round(share / 100 * 2**16)
    flips = draws[: length * bits].reshape(length, bits) < limits[:, None]
    return np.packbits(flips, axis=-1)


class Targets:
    """Turns stored images into inputs and targets, on the tokenizer's device.

    Args:
        tokenizer: the one that made the codes; its encoder and decoder are not used.
        self_correction: `exact` needs features and flips the same bits as `approximate`. `off`
            leaves the codes unchanged; VAR needs `off`.
    """

    def __init__(self, tokenizer: NetworkTokenizer, self_correction: SelfCorrection) -> None:
        if self_correction != "off" and not isinstance(tokenizer, InfinityBsq):
            raise DataError(f"{tokenizer.name} has no bits to flip: self-correction must be off")
        self.tokenizer, self.self_correction = tokenizer, self_correction

    def model_schedule(self, schedule: Schedule) -> Schedule:
        """Return the scales that the next-scale model sees."""
        return self.tokenizer.model_schedule_of(schedule)

    def __call__(self, images: Sequence[StoredImage]) -> tuple[Tensor, Tensor]:
        """Return inputs float32 [N, L - l, D] and targets int64 [N, L, K] of one schedule."""
        tokenizer = self.tokenizer.with_schedule(images[0].schedule)
        codes = Codes.unpack([image.codes for image in images], images[0].schedule)
        if isinstance(tokenizer, VarVqvae):
            return tokenizer.next_scale_inputs(codes), tokenizer.to_indices(codes).unsqueeze(-1)
        assert isinstance(tokenizer, InfinityBsq)
        if self.self_correction == "off":
            return tokenizer.next_scale_inputs(codes), tokenizer.labels(codes).long()
        flips_NLd = _unpacked_flips(images, tokenizer.config.bits)
        if self.self_correction == "exact":
            features = np.stack([image.features for image in images])  # type: ignore[type-var]
            corrected = tokenizer.self_correct(torch.from_numpy(features), flips_NLd)
        else:
            corrected = tokenizer.self_correct_codes(codes, flips_NLd)
        return corrected.inputs_BPD, corrected.labels_BPD.long()


def _unpacked_flips(images: Sequence[StoredImage], bits: int) -> Tensor:
    packed = np.stack([image.flips for image in images])  # type: ignore[type-var]
    return torch.from_numpy(np.unpackbits(packed, axis=-1, count=bits).astype(bool))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Patches:
    """The patches of one input image."""

    pixel_values: NDArray[np.float32]  # [patches, values per patch]
    grid_thw: tuple[int, int, int]  # patches in time, height and width
    tokens: int  # number of <|image_pad|> in the text


def cut_patches(image: Image.Image, processor: "Qwen2VLImageProcessorPil") -> Patches:
    """Return the patches of an image."""
    found = processor(images=[image], return_tensors="np")
    grid = tuple(found["image_grid_thw"][0].tolist())
    return Patches(
        pixel_values=found["pixel_values"].astype(np.float32, copy=False),
        grid_thw=grid,
        tokens=int(np.prod(grid)) // processor.merge_size**2,
    )
