"""Where and how exactly a tokenizer computes, and the passes that its images go through it in."""

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Precision = Literal["fp32", "tf32", "bf16"]

CUDA_PASS_IMAGES: Final = 16

_M_TRIM_THRESHOLD: Final = -1  # as malloc.h numbers them
_M_MMAP_MAX: Final = -4


@dataclass(frozen=True, kw_only=True, slots=True)
class Compute:
    """A device, a precision, and how many images go through the network at once.

    Codes depend on all three in the last place of a float, and so now and then in a bit.

    Raises:
        ValueError: a precision that the device does not have, or an empty pass.
    """

    device: str = "cpu"  # as torch names it
    precision: Precision = "fp32"  # of the convolutions; the quantizer is always fp32
    pass_images: int = 1

    def __post_init__(self) -> None:
        if self.precision == "tf32" and not self.on_cuda:
            raise ValueError(f"tf32 is a mode of CUDA devices, not of {self.device!r}")
        if self.pass_images < 1:
            raise ValueError(f"a pass takes 1 image or more, not {self.pass_images}")

    @property
    def on_cuda(self) -> bool:
        """Whether the device is a CUDA one."""
        return self.device.startswith("cuda")

    @property
    def layout(self) -> torch.memory_format:
        """Memory layout in which the convolutions are fast: channels-last but for fp32 CUDA."""
        if self.on_cuda and self.precision == "fp32":
            return torch.contiguous_format
        return torch.channels_last

    @contextlib.contextmanager
    def arithmetic(self) -> Iterator[None]:
        """Compute without gradients, in float32 that is exactly that.

        By default cuDNN convolves float32 in TF32, and may pick another algorithm at each run.
        Products of matrices are in TF32 only where a program asked torch for it.
        """
        matmul = torch.backends.cuda.matmul
        before, matmul.allow_tf32 = matmul.allow_tf32, False
        try:
            with torch.no_grad(), _cudnn(allow_tf32=False):
                yield
        finally:
            matmul.allow_tf32 = before

    def network_arithmetic(self) -> contextlib.AbstractContextManager[object]:
        """Return the context of the network alone, within the other: the precision asked for."""
        if self.precision == "tf32":
            return _cudnn(allow_tf32=True)
        device_type = torch.device(self.device).type
        return torch.autocast(device_type, torch.bfloat16, enabled=self.precision == "bf16")


def _cudnn(*, allow_tf32: bool) -> contextlib.AbstractContextManager[object]:
    return torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=allow_tf32
    )


def keep_freed_memory() -> None:
    """Let this process keep what it frees, where the C library is glibc.

    By default each large tensor is a mapping of its own, and its pages are fetched from the system
    anew: a seventh of the time of encoding at full size on a CPU. Memory stays at its peak.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def best_device() -> str:
    """Return CUDA if there is a device, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def compute_on(device: str, precision: Precision = "fp32") -> Compute:
    """Return a device with a good size of pass: on a CPU one image is the fastest.

    Raises:
        ValueError: tf32 on another device than a CUDA one.
    """
    pass_images = CUDA_PASS_IMAGES if torch.device(device).type == "cuda" else 1
    return Compute(device=device, precision=precision, pass_images=pass_images)


def best_compute(precision: Precision = "fp32") -> Compute:
    """Return the best device there is, with a good size of pass.

    Raises:
        ValueError: tf32 without a CUDA device.
    """
    return compute_on(best_device(), precision)


class Passes:
    """Feed a batch of any size through a function in passes of one size.

    Convolutions round differently at different batch sizes (7e-6 in the features of the VAR
    VQVAE, on a CPU), which now and then moves a code. So every pass has the same shape, the last
    filled up with zeros, and what comes of an image depends neither on the size of the batch nor
    on its neighbours. When memory runs out the passes halve for good, which is counted: from
    there on the last places may differ.
    """

    def __init__(self, compute: Compute) -> None:
        self._device = torch.device(compute.device)
        self.size = compute.pass_images
        self.halvings = 0

    def run(self, batch_B: Tensor, work: Callable[[Tensor], Tensor]) -> Tensor:
        """Return what `work` makes of the batch, along its first axis, on the device.

        Raises:
            ValueError: an empty batch.
            torch.OutOfMemoryError: a single image is too much.
        """
        if not len(batch_B):
            raise ValueError("expected a batch of one image or more, got none")
        done: list[Tensor] = []
        start = 0
        while start < len(batch_B):
            part = batch_B[start : start + self.size].to(self._device, non_blocking=True)
            try:
                done.append(self._one(part, work))
            except torch.OutOfMemoryError:
                if self.size == 1:
                    raise
                self._halve()
                continue
            start += len(part)
        return torch.cat(done)

    def _one(self, part: Tensor, work: Callable[[Tensor], Tensor]) -> Tensor:
        missing = self.size - len(part)
        padded = F.pad(part, (0, 0) * (part.ndim - 1) + (0, missing)) if missing else part
        return work(padded)[: len(part)]

    def _halve(self) -> None:
        self.size //= 2
        self.halvings += 1
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
