"""The VAR VQVAE as a tokenizer: float32 images to uint16 codes and back, exactly repeatable.

Shapes: B images, C channels, H and W positions of the features, L codes over all scales.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

import numpy as np
import torch
from torch import Tensor

from model.tokenizers.protocol import Codes, Schedule
from model.tokenizers.var_network import VarConfig, VarNetwork


class VarVqvae:
    """A loaded VAR VQVAE.

    Images go through the network one at a time: convolutions round differently at different
    batch sizes (7e-6 in the features, on a CPU), which now and then moves a code, and on a CPU
    one image a pass is also the fastest. The layout stays NCHW: channels-last is up to 1.8 times
    as fast on a CPU, but torch's GroupNorm is less exact there: 2e-3 in the features, and 24 of
    the 6,800 golden codes moved (torch 2.13).

    Args:
        network: with its weights; it is frozen and moved in place.
        config: the sizes the network was built with.
        checkpoint: where the weights are from, as the manifest shall say it.
        checkpoint_sha256: of the checkpoint file, empty for random weights.
        device: where to compute.
    """

    def __init__(
        self,
        network: VarNetwork,
        config: VarConfig,
        *,
        checkpoint: str,
        checkpoint_sha256: str,
        device: torch.device,
    ) -> None:
        network.eval().requires_grad_(False)
        self._network = network.to(device)
        self._device = device
        self._source = {"checkpoint": checkpoint, "checkpoint_sha256": checkpoint_sha256}
        self.config: Final = config
        self.schedule: Final[Schedule] = config.schedule
        self.codes_dtype: Final = np.dtype(np.uint16)
        self.codes_limit: Final = config.vocab
        self.resolution: Final = config.resolution

    def encode(self, images_NCHW: Tensor) -> Codes:
        """Tokenize float32 RGB images [B, 3, resolution, resolution] in [-1, 1], B at least 1.

        The codes of an image depend neither on the batch size nor on its neighbours. One CPU
        core takes 70 ms an image with the small preset at 256 px, 1.8 s with the full one.

        Raises:
            ValueError: another shape, dtype or range.
        """
        return self.quantize(self.features(images_NCHW))

    def features(self, images_NCHW: Tensor) -> Tensor:
        """Return what the quantizer reads, float32 [B, C, H, W], on the tokenizer's device.

        Raises:
            ValueError: another shape, dtype or range than `encode` takes.
        """
        self._check_images(images_NCHW)
        network = self._network
        return self._one_by_one(images_NCHW, lambda x: network.quant_conv(network.encoder(x)))

    def quantize(self, features_BCHW: Tensor) -> Codes:
        """Return the codes of features, as `features` returns them.

        Raises:
            ValueError: features that are not finite, whose nearest neighbour means nothing.
        """
        if not torch.isfinite(features_BCHW).all():
            raise ValueError("expected finite features, got NaN or infinite ones")
        codes_BL = self._one_by_one(features_BCHW, self._network.quantize.encode)
        return Codes(values_BL=codes_BL.cpu().numpy().astype(np.uint16), schedule=self.schedule)

    def decode(self, codes: Codes) -> Tensor:
        """Return float32 images [B, 3, resolution, resolution] in [-1, 1], on the device.

        Raises:
            ValueError: codes of another schedule, or out of range.
        """
        network = self._network

        def decode_one(codes_1L: Tensor) -> Tensor:
            f_hat_1CHW = network.quantize.summed_features(codes_1L)
            return network.decoder(network.post_quant_conv(f_hat_1CHW)).clamp(-1, 1)

        return self._one_by_one(self._to_indices(codes), decode_one)

    def summed_features(self, codes: Codes) -> Tensor:
        """Return what all scales amount to (f_hat), float32 [B, C, H, W], on the device.

        Raises:
            ValueError: codes of another schedule, or out of range.
        """
        return self._one_by_one(self._to_indices(codes), self._network.quantize.summed_features)

    @torch.no_grad()
    def next_scale_inputs(self, codes: Codes) -> Tensor:
        """Return what a next-scale predictor reads, float32 [B, L - n, C], on the device.

        n is the number of codes of the first scale, which nothing precedes. Computed for the
        whole batch at once, so the last bits depend on the batch size.

        Raises:
            ValueError: codes of another schedule, or out of range.
        """
        return self._network.quantize.next_scale_inputs(self._to_indices(codes))

    def describe(self) -> dict[str, str | int]:
        """Return what the manifest must say for the codes to be read again."""
        return {
            "name": "var_vqvae",
            **self._source,
            "resolution": self.resolution,
            "schedule": " ".join(f"{height}x{width}" for height, width in self.schedule),
            "vocab": self.codes_limit,
            "codes_dtype": self.codes_dtype.name,
            "precision": "float32",
        }

    def _one_by_one(self, batch: Tensor, work: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.no_grad(), _exact_float32():
            return torch.cat([work(one.to(self._device)) for one in batch.split(1)])

    def _check_images(self, images_NCHW: Tensor) -> None:
        expected = (3, self.resolution, self.resolution)
        shape, dtype = tuple(images_NCHW.shape), images_NCHW.dtype
        if len(shape) != 4 or not shape[0] or shape[1:] != expected or dtype != torch.float32:
            raise ValueError(f"expected float32 [B, {expected}], B >= 1, got {dtype} {shape}")
        largest = images_NCHW.abs().max().item()
        if not largest <= 1:
            raise ValueError(f"expected pixels in [-1, 1], the largest magnitude is {largest}")

    def _to_indices(self, codes: Codes) -> Tensor:
        if codes.schedule != self.schedule:
            raise ValueError(f"expected codes of schedule {self.schedule}, got {codes.schedule}")
        largest = int(codes.values_BL.max(initial=0))
        if largest >= self.codes_limit:
            raise ValueError(f"expected codes below {self.codes_limit}, the largest is {largest}")
        return torch.from_numpy(codes.values_BL.astype(np.int64)).to(self._device)


def _exact_float32() -> AbstractContextManager[None]:
    # By default cuDNN convolves float32 in TF32 and may pick another algorithm at each run.
    return torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
