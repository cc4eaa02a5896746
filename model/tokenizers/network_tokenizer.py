"""What both tokenizers share: an encoder, a quantizer that runs scale by scale, a decoder.

Shapes: B images, C channels, H and W positions of the features, L codes over all scales; P
positions that a next-scale model sees, p those of one scale, D channels that it reads of each and
K elements that it predicts.
"""

import copy
import dataclasses
from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from model.tokenizers.compute import Compute, Passes
from model.tokenizers.protocol import CodeArray, Codes, Schedule, check_schedule
from model.tokenizers.sizes import BsqConfig, VarConfig


class NetworkTokenizer(ABC):
    """A loaded tokenizer with the weights of one checkpoint, for one schedule at a time.

    Args:
        network: with its weights; it is frozen, moved and laid out anew in place.
        config: the sizes that the network was built with.
        schedule: size of every scale.
        compute: where and how.
        checkpoint: where the weights are from, as the manifest shall say it.
        checkpoint_sha256: of the checkpoint file, empty for random weights.

    Raises:
        ValueError: a schedule that the network cannot do.
    """

    name: str
    codes_dtype: np.dtype[Any]
    codes_limit: int
    code_words: int
    channels: int  # of the features

    def __init__(
        self,
        network: nn.Module,
        config: BsqConfig | VarConfig,
        *,
        schedule: Schedule,
        compute: Compute,
        checkpoint: str,
        checkpoint_sha256: str,
    ) -> None:
        network.eval().requires_grad_(False)
        self._network: Any = network.to(compute.device).to(memory_format=compute.layout)  # type: ignore[call-overload]
        self._source = {"checkpoint": checkpoint, "checkpoint_sha256": checkpoint_sha256}
        self._stride = config.stride
        self._told = config.stored, config.meaning
        self.codes_dtype = np.dtype(str(config.stored["codes_dtype"]))
        self.codes_limit = int(config.stored["codes_limit"])
        self.code_words = int(config.stored["code_words"])
        self.channels = config.channels
        self.compute = compute
        self.passes = Passes(compute)
        self.schedule = schedule
        self.check_schedule(schedule)

    def with_schedule(self, schedule: Schedule) -> Self:
        """Return a tokenizer for another schedule, with the same weights in memory.

        Raises:
            ValueError: a schedule that the network cannot do.
        """
        self.check_schedule(schedule)
        other = copy.copy(self)
        other.schedule = schedule
        return other

    def in_fp32(self) -> Self:
        """Return a tokenizer that computes in float32 throughout, with the same weights."""
        other = copy.copy(self)
        other.compute = dataclasses.replace(self.compute, precision="fp32")
        return other

    def check_schedule(self, schedule: Schedule) -> None:
        """Check that the network can do a schedule.

        Raises:
            ValueError: no scale, an empty one, or one larger than the last.
        """
        check_schedule(schedule)

    @property
    def model_schedule(self) -> Schedule:
        """Size of every scale as a next-scale model sees it: its positions, P over all scales."""
        return self.model_schedule_of(self.schedule)

    def model_schedule_of(self, schedule: Schedule) -> Schedule:
        """Return a schedule as a next-scale model sees it."""
        return schedule

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images, in pixels."""
        height, width = self.schedule[-1]
        return height * self._stride, width * self._stride

    def encode(self, images_NCHW: Tensor) -> Codes:
        """Tokenize RGB images: float32 [B, 3, H, W] in [-1, 1], B at least 1.

        The codes of an image depend neither on the batch size nor on its neighbours.

        Raises:
            ValueError: another shape, dtype or range, or features that are not finite.
        """
        return self.quantize(self.features(images_NCHW))

    def features(self, images_NCHW: Tensor) -> Tensor:
        """Return what the quantizer reads, float32 [B, C, H, W], on the tokenizer's device.

        Raises:
            ValueError: another shape, dtype or range than `encode` takes.
        """
        self._check_images(images_NCHW)
        with self.compute.arithmetic():
            return self.passes.run(images_NCHW, self._features)

    def quantize(self, features_BCHW: Tensor) -> Codes:
        """Return the codes of features, as `features` returns them.

        Raises:
            ValueError: features of another shape, or that are not finite.
        """
        self.check_features(features_BCHW)
        with self.compute.arithmetic():
            codes_BL = self.passes.run(features_BCHW.float(), self._quantize)
        return Codes(
            values_BL=codes_BL.cpu().numpy().astype(self.codes_dtype), schedule=self.schedule
        )

    def decode(self, codes: Codes) -> Tensor:
        """Return float32 images [B, 3, H, W] in [-1, 1], on the device.

        Raises:
            ValueError: codes of another schedule, or out of range.
        """
        with self.compute.arithmetic():
            return self.passes.run(self.to_indices(codes), self._decode)

    def summed_features(self, codes: Codes) -> Tensor:
        """Return what all scales amount to, float32 [B, C, H, W], on the device.

        Raises:
            ValueError: codes of another schedule, or out of range.
        """
        with self.compute.arithmetic():
            return self.passes.run(self.to_indices(codes), self._summed)

    def describe(self) -> dict[str, str | int]:
        """Return what the manifest must say for the codes to be read again."""
        stored, meaning = self._told
        precision = {"precision": self.compute.precision}
        return {"name": self.name, **self._source, **stored, **precision, **meaning}

    def differing(self, codes: CodeArray, others: CodeArray) -> tuple[int, int]:
        """Compare two arrays of codes: how many units there are, and how many differ.

        A unit is what a next-scale model predicts: an index here, a bit where codes are bits.
        """
        return codes.size, int((codes != others).sum())

    def add_scale(self, sum_BCHW: Tensor | None, targets_BpK: Tensor, scale: int) -> Tensor:
        """Return what codes up to and with a scale amount to, float32 [B, C, H, W], on the device.

        Grows an image scale by scale, as a next-scale model writes it; with the same operations as
        `next_scale_inputs` makes of a whole one.

        Args:
            sum_BCHW: of the scales before; None for the first.
            targets_BpK: of this scale, as a next-scale model predicts them, int64 on the device.
            scale: its number.
        """

        def work(at_B: Tensor) -> Tensor:
            added_BCHW = self._contribution(targets_BpK[at_B], scale)
            return added_BCHW if sum_BCHW is None else sum_BCHW[at_B] + added_BCHW

        with self.compute.arithmetic():
            return self.passes.run(torch.arange(len(targets_BpK)), work)

    def scale_inputs(self, sum_BCHW: Tensor, scale: int) -> Tensor:
        """Return what a next-scale model reads at a scale, float32 [B, p, D], on the device.

        Args:
            sum_BCHW: what `add_scale` made of the scales before.
            scale: its number, from 1: the first has no inputs.
        """
        with self.compute.arithmetic():
            return self.passes.run(sum_BCHW, lambda x_BCHW: self._scale_inputs(x_BCHW, scale))

    def to_codes(self, targets_BPK: Tensor) -> Codes:
        """Return the codes that a next-scale model's predictions of all scales are, int64 in."""
        return Codes(
            values_BL=self._packed(targets_BPK).cpu().numpy().astype(self.codes_dtype),
            schedule=self.schedule,
        )

    def check_features(self, features_BCHW: Tensor) -> None:
        """Check that features are of this network and schedule, and finite.

        Raises:
            ValueError: they are not.
        """
        expected = (self.channels, *self.schedule[-1])
        if features_BCHW.ndim != 4 or features_BCHW.shape[1:] != expected:
            raise ValueError(f"expected features [B, {expected}], got {list(features_BCHW.shape)}")
        if not torch.isfinite(features_BCHW).all():
            raise ValueError("expected finite features, got NaN or infinite ones")

    def to_indices(self, codes: Codes) -> Tensor:
        """Return codes as int64 on the device.

        Raises:
            ValueError: codes of another schedule, or out of range.
        """
        if codes.schedule != self.schedule:
            raise ValueError(f"expected codes of schedule {self.schedule}, got {codes.schedule}")
        values: CodeArray = codes.values_BL
        if (values.shape[2:] or (1,)) != (self.code_words,):
            raise ValueError(f"expected {self.code_words} words a code, got {values.shape[2:]}")
        largest = int(values.max(initial=0))
        if largest >= self.codes_limit:
            raise ValueError(f"expected codes below {self.codes_limit}, the largest is {largest}")
        return torch.from_numpy(values.astype(np.int64)).to(self.compute.device)

    def _features(self, images_B3HW: Tensor) -> Tensor:
        images_B3HW = images_B3HW.contiguous(memory_format=self.compute.layout)
        with self.compute.network_arithmetic():
            features = self._network.encode(images_B3HW)
        return features.float().contiguous()

    def _decode(self, codes_BL: Tensor) -> Tensor:
        sum_BCHW = self._summed(codes_BL).contiguous(memory_format=self.compute.layout)
        with self.compute.network_arithmetic():
            images_B3HW = self._network.decode(sum_BCHW)
        return images_B3HW.float().contiguous().clamp(-1, 1)

    @abstractmethod
    def _quantize(self, features_BCHW: Tensor) -> Tensor: ...

    @abstractmethod
    def _summed(self, codes_BL: Tensor) -> Tensor: ...

    @abstractmethod
    def _contribution(self, targets_BpK: Tensor, scale: int) -> Tensor: ...

    @abstractmethod
    def _scale_inputs(self, sum_BCHW: Tensor, scale: int) -> Tensor: ...

    @abstractmethod
    def _packed(self, targets_BPK: Tensor) -> Tensor: ...

    def _check_images(self, images_NCHW: Tensor) -> None:
        expected = (3, *self.image_size)
        shape, dtype = tuple(images_NCHW.shape), images_NCHW.dtype
        if len(shape) != 4 or not shape[0] or shape[1:] != expected or dtype != torch.float32:
            raise ValueError(f"expected float32 [B, {expected}], B >= 1, got {dtype} {shape}")
        largest = images_NCHW.abs().max().item()
        if not largest <= 1:
            raise ValueError(f"expected pixels in [-1, 1], the largest magnitude is {largest}")
