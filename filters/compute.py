"""Device, precision and passes of a network's computations."""

import contextlib
import ctypes
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Precision = Literal["fp32", "tf32", "bf16"]

CUDA_PASS_IMAGES: Final = 16

_M_TRIM_THRESHOLD: Final = -1  # numbers of malloc.h
_M_MMAP_MAX: Final = -4


@dataclass(frozen=True, kw_only=True, slots=True)
class Compute:
    """A device, a precision, and the number of images in a pass of the network.

    All three change the last digit of floats, and so sometimes a bit of an image's codes.

    Raises:
        ValueError: the device does not have the precision, or the pass is empty.
    """

    device: str = "cpu"  # torch's name
    precision: Precision = "fp32"  # of the network; a tokenizer's quantizer is always fp32
    pass_images: int = 1

    def __post_init__(self) -> None:
        if self.precision == "tf32" and not self.on_cuda:
            raise ValueError(f"tf32: expected a CUDA device, got {self.device!r}")
        if self.pass_images < 1:
            raise ValueError(f"expected 1 image or more per pass, got {self.pass_images}")

    @property
    def on_cuda(self) -> bool:
        """Whether the device is a CUDA device."""
        return self.device.startswith("cuda")

    @property
    def layout(self) -> torch.memory_format:
        """The fast memory layout of convolutions: channels-last; contiguous for fp32 on CUDA."""
        if self.on_cuda and self.precision == "fp32":
            return torch.contiguous_format
        return torch.channels_last

    @contextlib.contextmanager
    def arithmetic(self) -> Generator[None, None, None]:
        """Return a context without gradients, with exact float32.

        By default cuDNN computes float32 convolutions in TF32 and may choose another algorithm in
        each run. Matrix products are in TF32 only if the program enabled it.
        """
        with torch.no_grad(), _cudnn(allow_tf32=False), _matmul(allow_tf32=False):
            yield

    @contextlib.contextmanager
    def network_arithmetic(self, *, matmul: bool = False) -> Generator[None, None, None]:
        """Return the inner context of the network only, with the requested precision.

        Args:
            matmul: whether TF32 is used for matrix products too, and not for convolutions only.
        """
        if self.precision == "tf32":
            with _cudnn(allow_tf32=True), _matmul(allow_tf32=matmul):
                yield
            return
        device_type = torch.device(self.device).type
        with torch.autocast(device_type, torch.bfloat16, enabled=self.precision == "bf16"):
            yield


@contextlib.contextmanager
def _matmul(*, allow_tf32: bool) -> Generator[None, None, None]:
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, allow_tf32
    try:
        yield
    finally:
        matmul.allow_tf32 = before


def _cudnn(*, allow_tf32: bool) -> contextlib.AbstractContextManager[object]:
    return torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=allow_tf32
    )


@contextlib.contextmanager
def one_thread() -> Generator[None, None, None]:
    """Return a context in which this thread's computations on a CPU are not split.

    Processes share the cores; and other numbers of threads would round differently.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Keep freed memory in this process, if the C library is glibc.

    By default each large tensor is a separate mapping, and the system must provide its pages each
    time: 14 % of the time of encoding at full size on a CPU. Memory use stays at its peak.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def best_device() -> str:
    """Return CUDA if there is a device, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def compute_on(device: str, precision: Precision = "fp32") -> Compute:
    """Return a `Compute` on a device with a good pass size; on a CPU one image is the fastest.

    Raises:
        ValueError: tf32 on a device that is not CUDA.
    """
    pass_images = CUDA_PASS_IMAGES if torch.device(device).type == "cuda" else 1
    return Compute(device=device, precision=precision, pass_images=pass_images)


def best_compute(precision: Precision = "fp32") -> Compute:
    """Return a `Compute` on the best device, with a good pass size.

    Raises:
        ValueError: tf32 without a CUDA device.
    """
    return compute_on(best_device(), precision)


class Passes:
    """Runs a function on a batch of any size, in passes of one size.

    Convolutions round differently at different batch sizes (7e-6 in the features of the VAR
    VQVAE, on a CPU), which sometimes changes a code. So every pass has the same shape, the last one
    padded with zeros, and the result for an image depends neither on the batch size nor on other
    images. When memory runs out, the pass size is halved for good and `halvings` is increased: from
    then on the last digits may differ.
    """

    def __init__(self, compute: Compute) -> None:
        self._device = torch.device(compute.device)
        self.size = compute.pass_images
        self.halvings = 0

    def run(self, batch_B: Tensor, work: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the result of `work` for the batch, along the first axis, on the device.

        Raises:
            ValueError: the batch is empty.
            torch.OutOfMemoryError: there is not enough memory for one image.
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
