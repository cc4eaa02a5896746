"""Infinity's BSQ-VAE as a tokenizer: maps images to uint32 bit codes and back.

Shapes: B images, d bits and channels, H and W positions of the features, L codes over all scales, P
positions of the next-scale model (L, or L / 4 with patchify), p of them in the first scale, D bits
per position of the next-scale model (d, or 4 d).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from filters.compute import Compute
from model.tokenizers import bsq_quantizer
from model.tokenizers.bit_codes import pack_bits, unpack_bits
from model.tokenizers.bsq_network import BsqNetwork
from model.tokenizers.bsq_quantizer import Shrink
from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.tokenizers.protocol import CodeArray, Codes, Schedule, count_codes, scale_slices
from model.tokenizers.sizes import BsqConfig


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SelfCorrected:
    """Labels of a next-scale model, and inputs that contain simulated mistakes."""

    labels_BPD: Tensor  # bool, before flipping
    inputs_BPD: Tensor  # float32 [B, P - p, D]; the first scale has none


class InfinityBsq(NetworkTokenizer):
    """A loaded BSQ-VAE of any published size.

    A code holds the d bits of a position, bit 0 the most significant; over 32 bits it has two
    words. With patchify, codes are stored in the tokenizer's own grid, and a position of the
    next-scale model is 2 x 2 of them: channel c, row y, column x become bit c * 4 + 2 * y + x.

    Args:
        network: with its weights.
        config: the sizes of the network.
        schedule: size of every scale of the tokenizer's grid; with patchify all sizes are even.
        compute: device and precision.
        checkpoint: origin of the weights, for the manifest.
        checkpoint_sha256: of the checkpoint file, empty for random weights.
    """

    name = "infinity_bsq"

    def __init__(
        self,
        network: BsqNetwork,
        config: BsqConfig,
        *,
        schedule: Schedule,
        compute: Compute,
        checkpoint: str,
        checkpoint_sha256: str,
    ) -> None:
        self.config: BsqConfig = config
        super().__init__(
            network,
            config,
            schedule=schedule,
            compute=compute,
            checkpoint=checkpoint,
            checkpoint_sha256=checkpoint_sha256,
        )

    def model_schedule_of(self, schedule: Schedule) -> Schedule:
        """Return the next-scale model's schedule: with patchify half as large."""
        if not self.config.patchify:
            return schedule
        return tuple((height // 2, width // 2) for height, width in schedule)

    def check_schedule(self, schedule: Schedule) -> None:
        """Check that the network can use a schedule.

        Raises:
            ValueError: there is no scale, a scale is empty or larger than the last, or odd with
                patchify.
        """
        super().check_schedule(schedule)
        if self.config.patchify and any(height % 2 or width % 2 for height, width in schedule):
            raise ValueError(f"with patchify every scale must be even, got {schedule}")

    def bits(self, codes: Codes) -> Tensor:
        """Return the bits of codes, bool [B, L, d], on the device.

        Raises:
            ValueError: codes have another schedule, or are out of range.
        """
        return unpack_bits(self.to_indices(codes), self.config.bits)

    def labels(self, codes: Codes) -> Tensor:
        """Return the bits that a next-scale model predicts, bool [B, P, D], on the device.

        Raises:
            ValueError: codes have another schedule, or are out of range.
        """
        return self._gathered(self.bits(codes))

    def next_scale_inputs(self, codes: Codes, mode: Shrink = "trilinear") -> Tensor:
        """Return the inputs of a next-scale model, float32 [B, P - p, D], on the device.

        Args:
            codes: of this schedule.
            mode: see `bsq_quantizer.next_scale_inputs`.

        Raises:
            ValueError: codes have another schedule, or are out of range.
        """

        def work(codes_BL: Tensor) -> Tensor:
            bits_BLd = unpack_bits(codes_BL, self.config.bits)
            return self._inputs(bsq_quantizer.partial_sums(bits_BLd, self.schedule), mode)

        with self.compute.arithmetic():
            return self.passes.run(self.to_indices(codes), work)

    def self_correct(self, features_BdHW: Tensor, flips_BLd: Tensor) -> SelfCorrected:
        """Make labels and inputs as if the bits of `flips_BLd` had been predicted wrongly.

        Exact with float32 features. Stored features are float16, which changes 1 to 9 labels in
        10,000 (golden data). Codes alone are not enough to be exact; see `self_correct_codes`.

        Args:
            features_BdHW: from `features`; any float type.
            flips_BLd: bool, bits to flip, on the tokenizer's own grid.

        Raises:
            ValueError: shapes do not fit the schedule, or features are not finite.
        """
        self.check_features(features_BdHW)
        self._check_flips(flips_BLd, len(features_BdHW))
        with self.compute.arithmetic():
            labels_BLd, sums = bsq_quantizer.self_correct(
                features_BdHW.to(self.compute.device).float(),
                self.schedule,
                flips_BLd.to(self.compute.device),
            )
            return SelfCorrected(
                labels_BPD=self._gathered(labels_BLd), inputs_BPD=self._inputs(sums)
            )

    def self_correct_codes(self, codes: Codes, flips_BLd: Tensor) -> SelfCorrected:
        """Make labels and inputs as `self_correct`, but approximately, from codes alone.

        The labels of the first scale are exact; without flips all labels are exact.

        Raises:
            ValueError: codes or flips have another schedule, or codes are out of range.
        """
        self._check_flips(flips_BLd, len(codes))
        with self.compute.arithmetic():
            labels_BLd, sums = bsq_quantizer.self_correct_bits(
                self.bits(codes), self.schedule, flips_BLd.to(self.compute.device)
            )
            return SelfCorrected(
                labels_BPD=self._gathered(labels_BLd), inputs_BPD=self._inputs(sums)
            )

    def differing(self, codes: CodeArray, others: CodeArray) -> tuple[int, int]:
        """Return the number of bits of two code arrays, and how many of them differ."""
        positions = codes.size // self.code_words
        return positions * self.config.bits, int(np.bitwise_count(codes ^ others).sum())

    def _quantize(self, features_BCHW: Tensor) -> Tensor:
        return pack_bits(bsq_quantizer.encode(features_BCHW, self.schedule))

    def _summed(self, codes_BL: Tensor) -> Tensor:
        bits_BLd = unpack_bits(codes_BL, self.config.bits)
        return bsq_quantizer.partial_sums(bits_BLd, self.schedule)[-1]

    def _inputs(self, sums_BdHW: Sequence[Tensor], mode: Shrink = "trilinear") -> Tensor:
        inputs = bsq_quantizer.next_scale_inputs(sums_BdHW, self.schedule, mode)
        if self.config.patchify and mode == "trilinear":
            inputs = [F.pixel_unshuffle(x_Bdhw, 2) for x_Bdhw in inputs]
        return torch.cat([x_Bdhw.flatten(2).transpose(1, 2) for x_Bdhw in inputs], dim=1)

    def _check_flips(self, flips_BLd: Tensor, count: int) -> None:
        expected = (count, count_codes(self.schedule), self.config.bits)
        if tuple(flips_BLd.shape) != expected or flips_BLd.dtype != torch.bool:
            found = f"{flips_BLd.dtype} {list(flips_BLd.shape)}"
            raise ValueError(f"expected flips bool {list(expected)}, got {found}")

    def _gathered(self, bits_BLd: Tensor) -> Tensor:
        if not self.config.patchify:
            return bits_BLd
        scales: list[Tensor] = []
        for part, size in zip(scale_slices(self.schedule), self.schedule, strict=True):
            grid_Bdhw = bits_BLd[:, part].transpose(1, 2).unflatten(2, size)
            scales.append(F.pixel_unshuffle(grid_Bdhw, 2).flatten(2).transpose(1, 2))
        return torch.cat(scales, dim=1)

    def _contribution(self, targets_BpK: Tensor, scale: int) -> Tensor:
        bits_Bnd = self._scattered(targets_BpK.bool(), scale)
        return bsq_quantizer.contribution(bits_Bnd, self.schedule[scale], self.schedule[-1])

    def _scale_inputs(self, sum_BCHW: Tensor, scale: int) -> Tensor:
        sizes = self.schedule[scale - 1 : scale + 1]
        (x_Bdhw,) = bsq_quantizer.next_scale_inputs([sum_BCHW], sizes)
        if self.config.patchify:
            x_Bdhw = F.pixel_unshuffle(x_Bdhw, 2)
        return x_Bdhw.flatten(2).transpose(1, 2)

    def _packed(self, targets_BPK: Tensor) -> Tensor:
        parts = [
            self._scattered(targets_BPK[:, part].bool(), scale)
            for scale, part in enumerate(scale_slices(self.model_schedule))
        ]
        return pack_bits(torch.cat(parts, dim=1))

    def _scattered(self, bits_BpD: Tensor, scale: int) -> Tensor:
        """Undo `_gathered`, for one scale."""
        if not self.config.patchify:
            return bits_BpD
        grid_BDhw = bits_BpD.transpose(1, 2).unflatten(2, self.model_schedule[scale])
        # Contiguous like the bits of stored codes, because the order of a sum depends on it.
        return F.pixel_shuffle(grid_BDhw, 2).flatten(2).transpose(1, 2).contiguous()
