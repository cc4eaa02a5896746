"""Packing of a position's bits into 32-bit integers, and back; bit 0 is the most significant.

Shapes: d bits per position, W words of 32 bits per position, most significant first.
"""

import torch
from torch import Tensor

WORD_BITS = 32


def words(bits: int) -> int:
    """Return W, the number of words for a position's bits.

    >>> words(14), words(32), words(64)
    (1, 1, 2)
    """
    return -(-bits // WORD_BITS)


def pack_bits(bits_d: Tensor) -> Tensor:
    """Pack bool [..., d] to int64 [...], or [..., W] if d is over 32.

    The value is sum(bit_i << (d - 1 - i)), the weights of the reference's `lfq.mask`. If d is no
    multiple of 32, the top bits of the first word are 0.

    >>> pack_bits(torch.tensor([[True, False, True]]))
    tensor([5])
    """
    size = bits_d.shape[-1]
    count = words(size)
    padded_d = torch.nn.functional.pad(bits_d, (count * WORD_BITS - size, 0))
    weights = 1 << torch.arange(WORD_BITS - 1, -1, -1, device=bits_d.device)
    packed_W = (padded_d.unflatten(-1, (count, WORD_BITS)) * weights).sum(dim=-1)
    return packed_W if count > 1 else packed_W.squeeze(-1)


def unpack_bits(packed: Tensor, bits: int) -> Tensor:
    """Return the bool [..., d] that `pack_bits` packed to int64.

    Raises:
        ValueError: an integer is negative or needs more bits.

    >>> unpack_bits(torch.tensor([5]), 3)
    tensor([[ True, False,  True]])
    """
    packed_W = packed if words(bits) > 1 else packed.unsqueeze(-1)
    shifts = torch.arange(WORD_BITS - 1, -1, -1, device=packed.device)
    all_bits_d = (packed_W.unsqueeze(-1) >> shifts & 1).bool().flatten(-2)
    unused = all_bits_d.shape[-1] - bits
    over = (packed_W.numel() and int(packed_W.min()) < 0) or bool((packed_W >> WORD_BITS).any())
    if over or all_bits_d[..., :unused].any():
        raise ValueError(f"expected codes of {bits} bits, the largest is {int(packed_W.max())}")
    return all_bits_d[..., unused:]
