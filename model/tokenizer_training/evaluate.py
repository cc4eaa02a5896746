"""The quality of a tokenizer's reconstructions of held-out images.

Shapes: B images, H and W pixels, L codes over all scales, d bits per code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from model.tokenizers.infinity_bsq import InfinityBsq
from model.tokenizers.likeness import likeness
from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.tokenizers.prepare import to_model_input
from model.tokenizers.protocol import CodeArray, Codes

AT_ONCE: Final = 16  # images


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Figures of the held-out images at one size."""

    images: int
    side: int  # px
    psnr: float  # dB, mean over the images
    psnr_p5: float  # dB, fifth percentile
    ssim: float  # mean
    ssim_p5: float  # fifth percentile
    bits_an_image: int  # of the codes
    codebook_used: float | None = None  # share of the entries that occur (VAR)
    bit_entropy: float | None = None  # mean over the bits of a code, 0 to 1 (BSQ)


def evaluate(tokenizer: NetworkTokenizer, images_BHW3: NDArray[np.uint8]) -> Figures:
    """Encode and decode images and measure the result; the schedule gives the image size.

    PSNR and SSIM are torchmetrics', on RGB in [0, 1], image by image.
    """
    codes: list[CodeArray] = []
    psnr: list[float] = []
    ssim: list[float] = []
    for start in range(0, len(images_BHW3), AT_ONCE):
        images_B3HW = to_model_input(images_BHW3[start : start + AT_ONCE])
        found = tokenizer.encode(images_B3HW)
        codes.append(found.values_BL)
        for drawn_3HW, image_3HW in zip(tokenizer.decode(found).cpu(), images_B3HW, strict=True):
            alike = likeness(drawn_3HW, image_3HW)
            psnr.append(alike.psnr)
            ssim.append(alike.ssim)
    all_codes = Codes(values_BL=np.concatenate(codes), schedule=tokenizer.schedule)
    is_bits = isinstance(tokenizer, InfinityBsq)
    return Figures(
        images=len(images_BHW3),
        side=tokenizer.image_size[0],
        psnr=float(np.mean(psnr)),
        psnr_p5=float(np.percentile(psnr, 5)),
        ssim=float(np.mean(ssim)),
        ssim_p5=float(np.percentile(ssim, 5)),
        bits_an_image=round(all_codes.values_BL.shape[1] * bits_a_code(tokenizer)),
        codebook_used=None
        if is_bits
        else codebook_used(all_codes.values_BL, tokenizer.codes_limit),
        bit_entropy=bit_entropy(tokenizer.bits(all_codes)) if is_bits else None,
    )


def bits_a_code(tokenizer: NetworkTokenizer) -> float:
    """Return the bits of a code: d, or log2 of the codebook's size."""
    if isinstance(tokenizer, InfinityBsq):
        return tokenizer.config.bits
    return float(np.log2(tokenizer.codes_limit))


def codebook_used(codes_BL: CodeArray, entries: int) -> float:
    """Return the share of a codebook's entries that occur.

    >>> codebook_used(np.array([[0, 3, 3]]), 4)
    0.5
    """
    return len(np.unique(codes_BL)) / entries


def bit_entropy(bits_BLd: Tensor) -> float:
    """Return the mean entropy of the d bits over all positions; 1 if 0 and 1 are equally frequent.

    >>> bit_entropy(torch.tensor([[[True, True], [False, True]]]))
    0.5
    """
    p_d = bits_BLd.double().mean(dim=(0, 1))
    entropy_d = torch.special.entr(p_d) + torch.special.entr(1 - p_d)
    return float(entropy_d.mean() / np.log(2))


def reconstructions(
    tokenizer: NetworkTokenizer, images_BHW3: Sequence[NDArray[np.uint8]]
) -> Image.Image:
    """Draw originals in a row, with the reconstruction below each."""
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
