"""Random weights that depend only on a seed and on each tensor's name."""

import hashlib
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def random_weights(expected: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Return random values for every tensor of a state dict, float32 on the CPU.

    They are scaled so that an image's codes are diverse and the quantizer's residual shrinks. The
    full-size VAR VQVAE (109 M values) takes 2 to 4 s.

    Args:
        expected: a state dict, also on the meta device; only names and shapes are read.
        seed: any integer.
    """
    return {key: _draw(key, tensor.shape, seed) for key, tensor in expected.items()}


def _draw(key: str, shape: torch.Size, seed: int) -> Tensor:
    if key.endswith("ema_vocab_hit_SV"):
        return torch.zeros(shape)
    offset, scale = _offset_and_scale(key, shape)
    return torch.from_numpy(_normal(key, shape, seed) * np.float32(scale) + np.float32(offset))


def _offset_and_scale(key: str, shape: torch.Size) -> tuple[float, float]:
    if "norm" in key:
        return float(key.endswith("weight")), 0.1
    if key.endswith("bias"):
        return 0.0, 0.05
    if len(shape) == 4:
        gain = 0.5 if "quant_resi" in key else 1.0
        return 0.0, gain * math.sqrt(2 / math.prod(shape[1:]))
    return 0.0, 0.5


def _normal(key: str, shape: torch.Size, seed: int) -> np.ndarray:
    digest = hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=16).digest()
    # RandomState on purpose: numpy has frozen its stream, but may change that of Generator.
    state = np.random.RandomState(np.frombuffer(digest, dtype="<u4"))
    return state.standard_normal(shape).astype(np.float32)
