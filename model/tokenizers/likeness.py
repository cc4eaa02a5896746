"""How like an image is to what a tokenizer makes of it: PSNR and SSIM."""

from typing import Final, NamedTuple

from torch import Tensor

MOST_PSNR: Final = 100.0  # dB, for an exact reconstruction, as of a blank image


class Likeness(NamedTuple):
    """The likeness of a reconstruction."""

    psnr: float  # dB, at most MOST_PSNR
    ssim: float  # -1..1


def likeness(drawn_3HW: Tensor, image_3HW: Tensor) -> Likeness:
    """Compare two images with values in [-1, 1]; PSNR and SSIM are torchmetrics', on RGB.

    SSIM has a Gaussian window of 11 x 11 pixels, sigma 1.5 (Wang et al. 2004). The result depends
    on the two images alone.

    Raises:
        ModuleNotFoundError: torchmetrics is not installed.
    """
    from torchmetrics.functional.image import (
        peak_signal_noise_ratio,
        structural_similarity_index_measure,
    )

    pair = drawn_3HW[None] / 2 + 0.5, image_3HW[None] / 2 + 0.5
    psnr = min(MOST_PSNR, float(peak_signal_noise_ratio(*pair, data_range=1.0)))
    ssim = structural_similarity_index_measure(*pair, data_range=1.0)
    assert isinstance(ssim, Tensor)
    return Likeness(psnr, float(ssim))
