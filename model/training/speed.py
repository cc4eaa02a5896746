"""The speed of a training: counted operations, and the peak of the device."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.utils.checkpoint import set_checkpoint_early_stop
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from model.training.parallel import Processes, blocks_of
from model.vargpt.vargpt import Vargpt


def _attention(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(q, k, v)


def _attention_backward(grad: Any, q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(grad, q, k, v)


_ATEN: Final = torch.ops.aten
# torch's own table has only the attention of GPUs.
_ON_CPU: Final[dict[Any, Any]] = {
    _ATEN._scaled_dot_product_flash_attention_for_cpu: _attention,
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}

PEAK_TFLOPS: Final = {"H200": 989.4, "H100": 989.4, "A100": 311.9, "L4": 121.0, "V100": 125.0}
"""Peak for dense matrix products in bfloat16 (V100: float16) from the data sheets, by a part of
the device's name."""


@dataclass
class Counted:
    """Floating-point operations of a forward and backward pass."""

    flop: int = 0


@contextmanager
def counting(model: Vargpt, checkpointing: bool) -> Iterator[Counted]:
    """Count the operations that run inside; recomputed ones count once."""
    counted = Counted()
    forward: dict[int, int] = {}
    with FlopCounterMode(display=False, custom_mapping=_ON_CPU) as mode, _whole_blocks():
        handles = []
        if checkpointing:
            for block in blocks_of(model):
                handles += _watched(block, mode, forward)
        try:
            yield counted
        finally:
            for handle in handles:
                handle.remove()
        counted.flop = mode.get_total_flops() - sum(forward.values())


def _watched(block: torch.nn.Module, mode: FlopCounterMode, forward: dict[int, int]) -> list[Any]:
    """Store in `forward` the operations of a block's first pass, which the second one repeats."""
    started: list[int] = []

    def before(*_: Any) -> None:
        started.append(mode.get_total_flops())

    def after(*_: Any) -> None:
        forward.setdefault(id(block), mode.get_total_flops() - started.pop())

    return [
        block.register_forward_pre_hook(before),
        block.register_forward_hook(after, always_call=True),
    ]


@contextmanager
def _whole_blocks() -> Iterator[None]:
    # Otherwise a recomputation stops at the last tensor needed, before the end of the block.
    with set_checkpoint_early_stop(False):
        yield


class Speed:
    """Tokens and operations per second since the last `take`.

    Args:
        peak_tflops: of a device; None for the value of `PEAK_TFLOPS`.
        processes: the processes whose figures are added.
    """

    def __init__(self, peak_tflops: float | None, processes: Processes) -> None:
        self._processes = processes
        self._peak = peak_tflops * 1e12 if peak_tflops else peak_flops(processes.device)
        self._tokens = self._flop = self._seconds = 0.0

    def add(self, tokens: float, flop: float, seconds: float) -> None:
        """Add tokens and floating-point operations of all processes, and the time in seconds."""
        self._tokens += tokens
        self._flop += flop
        self._seconds += seconds

    def take(self) -> dict[str, float]:
        """Return the figures by name, with MFU if the device's peak is known, and reset them."""
        flops = self._flop / self._seconds / self._processes.count
        speed = {
            "speed/tokens a second": self._tokens / self._seconds,
            "speed/TFLOP/s a device": flops / 1e12,
        }
        self._tokens = self._flop = self._seconds = 0.0
        return speed | ({"speed/MFU": flops / self._peak} if self._peak else {})


def peak_flops(device: str) -> float | None:
    """Return a device's peak operations per second; None if it is not in `PEAK_TFLOPS`."""
    if torch.device(device).type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    known = (peak for part, peak in PEAK_TFLOPS.items() if part in name)
    tflops = next(known, None)
    return tflops * 1e12 if tflops else None
