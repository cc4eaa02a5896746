"""How well a tokenizer draws held-out images again.

Shapes: B images, H and W pixels, L codes over all scales, d bits a code.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from model.tokenizers.infinity_bsq import InfinityBsq
from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.tokenizers.prepare import to_model_input
from model.tokenizers.protocol import CodeArray, Codes


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What came of held-out images at one size."""

    images: int
    side: int  # px
    psnr: float  # dB, mean over the images
    psnr_p5: float  # dB, fifth percentile
    ssim: float  # mean
    bits_an_image: int  # of the codes
    codes_used: float  # share of the codebook (VAR); mean entropy of a bit (BSQ), 0 to 1


def evaluate(tokenizer: NetworkTokenizer, images_BHW3: NDArray[np.uint8]) -> Figures:
    """Encode and decode images through a tokenizer, of which the schedule says their size.

    PSNR and SSIM are those of torchmetrics, on RGB in [0, 1], image by image.
    """
    codes: list[CodeArray] = []
    psnr: list[float] = []
    ssim: list[float] = []
    for image_HW3 in images_BHW3:
        image_13HW = to_model_input(image_HW3[None])
        found = tokenizer.encode(image_13HW)
        drawn_13HW = tokenizer.decode(found).cpu()
        codes.append(found.values_BL)
        pair = (drawn_13HW / 2 + 0.5, image_13HW / 2 + 0.5)
        psnr.append(float(peak_signal_noise_ratio(*pair, data_range=1.0)))
        similarity = structural_similarity_index_measure(*pair, data_range=1.0)
        assert isinstance(similarity, Tensor)
        ssim.append(float(similarity))
    all_codes = Codes(values_BL=np.concatenate(codes), schedule=tokenizer.schedule)
    return Figures(
        images=len(images_BHW3),
        side=tokenizer.image_size[0],
        psnr=float(np.mean(psnr)),
        psnr_p5=float(np.percentile(psnr, 5)),
        ssim=float(np.mean(ssim)),
        bits_an_image=round(all_codes.values_BL.shape[1] * bits_a_code(tokenizer)),
        codes_used=_codes_used(tokenizer, all_codes),
    )


def bits_a_code(tokenizer: NetworkTokenizer) -> float:
    """Return how many bits a code is worth: d, or the logarithm of the codebook's size."""
    if isinstance(tokenizer, InfinityBsq):
        return tokenizer.config.bits
    return float(np.log2(tokenizer.codes_limit))


def _codes_used(tokenizer: NetworkTokenizer, codes: Codes) -> float:
    if not isinstance(tokenizer, InfinityBsq):
        return len(np.unique(codes.values_BL)) / tokenizer.codes_limit
    p_d = tokenizer.bits(codes).double().mean(dim=(0, 1)).clamp(1e-9, 1 - 1e-9)
    entropy_d = -(p_d * p_d.log2() + (1 - p_d) * (1 - p_d).log2())
    return float(entropy_d.mean())


def reconstructions(
    tokenizer: NetworkTokenizer, images_BHW3: Sequence[NDArray[np.uint8]]
) -> Image.Image:
    """Draw originals in a row, and below each what came of it."""
    drawn = [
        tokenizer.decode(tokenizer.encode(to_model_input(image[None])))[0].cpu()
        for image in images_BHW3
    ]
    rows = [
        np.concatenate(list(images_BHW3), axis=1),
        np.concatenate([_to_uint8(image_3HW) for image_3HW in drawn], axis=1),
    ]
    return Image.fromarray(np.concatenate(rows))


def _to_uint8(image_3HW: Tensor) -> NDArray[np.uint8]:
    scaled = (image_3HW / 2 + 0.5).mul(255).round().to(torch.uint8)
    return scaled.permute(1, 2, 0).numpy()
