"""The base class of both tokenizers: an encoder, a quantizer that runs scale by scale, a decoder.

Shapes: B images, C channels, H and W positions of the features, L codes over all scales; P
positions of a next-scale model, p of them in one scale, D channels that it reads per position, K
elements that it predicts per position.
"""

import copy
import dataclasses
from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from filters.compute import Compute, Passes
from model.tokenizers.protocol import CodeArray, Codes, Schedule, check_schedule
from model.tokenizers.sizes import BsqConfig, VarConfig


class NetworkTokenizer(ABC):
    """A loaded tokenizer with the weights of one checkpoint, for one schedule at a time.

    Args:
        network: with its weights; it is frozen, and moved to the device and layout in place.
        config: the sizes of the network.
        schedule: size of every scale.
        compute: device and precision.
        checkpoint: origin of the weights, for the manifest.
        checkpoint_sha256: of the checkpoint file, empty for random weights.

    Raises:
        ValueError: the network cannot use the schedule.
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
        self._description = config.stored, config.meaning
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
            ValueError: the network cannot use the schedule.
        """
        self.check_schedule(schedule)
        other = copy.copy(self)
        other.schedule = schedule
        return other

    def in_fp32(self) -> Self:
        """Return a tokenizer with the same weights that computes everything in float32."""
        other = copy.copy(self)
        other.compute = dataclasses.replace(self.compute, precision="fp32")
        return other

    def check_schedule(self, schedule: Schedule) -> None:
        """Check that the network can use a schedule.

        Raises:
            ValueError: there is no scale, or a scale is empty or larger than the last.
        """
        check_schedule(schedule)

    @property
    def model_schedule(self) -> Schedule:
        """Size of every scale in positions of a next-scale model, P over all scales."""
        return self.model_schedule_of(self.schedule)

    def model_schedule_of(self, schedule: Schedule) -> Schedule:
        """Return the next-scale model's schedule for a tokenizer's schedule."""
        return schedule

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images, in pixels."""
        height, width = self.schedule[-1]
        return height * self._stride, width * self._stride

    def encode(self, images_NCHW: Tensor) -> Codes:
        """Tokenize RGB images: float32 [B, 3, H, W] in [-1, 1], B at least 1.

        The codes of an image depend neither on the batch size nor on other images.

        Raises:
            ValueError: shape, dtype or range are wrong, or features are not finite.
        """
        return self.quantize(self.features(images_NCHW))

    def features(self, images_NCHW: Tensor) -> Tensor:
        """Return the input of the quantizer, float32 [B, C, H, W], on the tokenizer's device.

        Raises:
            ValueError: shape, dtype or range are wrong; see `encode`.
        """
        self._check_images(images_NCHW)
        with self.compute.arithmetic():
            return self.passes.run(images_NCHW, self._features)

    def quantize(self, features_BCHW: Tensor) -> Codes:
        """Return the codes of features from `features`.

        Raises:
            ValueError: features have another shape, or are not finite.
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
            ValueError: codes have another schedule, or are out of range.
        """
        with self.compute.arithmetic():
            return self.passes.run(self.to_indices(codes), self._decode)

    def summed_features(self, codes: Codes) -> Tensor:
        """Return the sum of all scales' contributions, float32 [B, C, H, W], on the device.

        Raises:
            ValueError: codes have another schedule, or are out of range.
        """
        with self.compute.arithmetic():
            return self.passes.run(self.to_indices(codes), self._summed)

    def describe(self) -> dict[str, str | int]:
        """Return the fields that the manifest needs for reading the codes again."""
        stored, meaning = self._description
        precision = {"precision": self.compute.precision}
        return {"name": self.name, **self._source, **stored, **precision, **meaning}

    def differing(self, codes: CodeArray, others: CodeArray) -> tuple[int, int]:
        """Return the number of units of two code arrays, and how many of them differ.

        A unit is an element that a next-scale model predicts: an index, or a bit in BSQ.
        """
        return codes.size, int((codes != others).sum())

    def add_scale(self, sum_BCHW: Tensor | None, targets_BpK: Tensor, scale: int) -> Tensor:
        """Return the sum of contributions up to a scale, float32 [B, C, H, W], on the device.

        Used in generation, scale by scale; the operations are the same as in `next_scale_inputs`.

        Args:
            sum_BCHW: sum of the previous scales; None for the first.
            targets_BpK: predicted elements of this scale, int64 on the device.
            scale: number of the scale.
        """

        def work(at_B: Tensor) -> Tensor:
            added_BCHW = self._contribution(targets_BpK[at_B], scale)
            return added_BCHW if sum_BCHW is None else sum_BCHW[at_B] + added_BCHW

        with self.compute.arithmetic():
            return self.passes.run(torch.arange(len(targets_BpK)), work)

    def scale_inputs(self, sum_BCHW: Tensor, scale: int) -> Tensor:
        """Return the inputs of a next-scale model at a scale, float32 [B, p, D], on the device.

        Args:
            sum_BCHW: sum of the previous scales, from `add_scale`.
            scale: number of the scale, from 1; scale 0 has no inputs.
        """
        with self.compute.arithmetic():
            return self.passes.run(sum_BCHW, lambda x_BCHW: self._scale_inputs(x_BCHW, scale))

    def to_codes(self, targets_BPK: Tensor) -> Codes:
        """Return the codes of a next-scale model's predictions of all scales, int64."""
        return Codes(
            values_BL=self._packed(targets_BPK).cpu().numpy().astype(self.codes_dtype),
            schedule=self.schedule,
        )

    def check_features(self, features_BCHW: Tensor) -> None:
        """Check that features fit this network and schedule, and are finite.

        Raises:
            ValueError: the shape is wrong, or a value is not finite.
        """
        expected = (self.channels, *self.schedule[-1])
        if features_BCHW.ndim != 4 or features_BCHW.shape[1:] != expected:
            raise ValueError(f"expected features [B, {expected}], got {list(features_BCHW.shape)}")
        if not torch.isfinite(features_BCHW).all():
            raise ValueError("expected finite features, got NaN or infinite ones")

    def to_indices(self, codes: Codes) -> Tensor:
        """Return codes as int64 on the device.

        Raises:
            ValueError: codes have another schedule, or are out of range.
        """
        if codes.schedule != self.schedule:
            raise ValueError(f"expected codes of schedule {self.schedule}, got {codes.schedule}")
        values: CodeArray = codes.values_BL
        if (values.shape[2:] or (1,)) != (self.code_words,):
            raise ValueError(f"expected {self.code_words} words per code, got {values.shape[2:]}")
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
