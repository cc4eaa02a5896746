"""Attention of the visual decoder, all through PyTorch's scaled_dot_product_attention.

Self-attention is Infinity's: queries and keys of unit length, a learned scale per head, and rotary
positions. Cross-attention and the pool over the context scale by 1 / sqrt(head width).

Shapes: N images, L positions, T context vectors, C width, H heads, W width of a head.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.vargpt.rope2d import Rotation

MAX_SCALE = 100.0  # upper bound of the learned scale
FIRST_SCALE = 4.0

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(queries, keys, values), each [N, H, L, W], queries already scaled -> attention output."""


class KeyValues:
    """Cached keys and values of one block; grows scale by scale."""

    def __init__(self) -> None:
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []

    def extend(self, k_NHLW: Tensor, v_NHLW: Tensor) -> tuple[Tensor, Tensor]:
        """Add the keys and values of a scale and return all."""
        self._keys.append(k_NHLW)
        self._values.append(v_NHLW)
        return torch.cat(self._keys, dim=2), torch.cat(self._values, dim=2)


def attend_all(q_NHLW: Tensor, k_NHLW: Tensor, v_NHLW: Tensor) -> Tensor:
    """Return attention of every query to every key; queries are already scaled."""
    return F.scaled_dot_product_attention(q_NHLW, k_NHLW, v_NHLW, scale=1.0)


def scaled(q_NHLW: Tensor, k_NHTW: Tensor, v_NHTW: Tensor, seen_NT: Tensor) -> Tensor:
    """Return attention of every query to the context where `seen_NT` (bool) is True.

    At least one context vector per image must be True.
    """
    return F.scaled_dot_product_attention(
        q_NHLW, k_NHTW, v_NHTW, attn_mask=seen_NT[:, None, None, :]
    )


class SelfAttention(nn.Module):
    """Cosine attention among the positions of an image."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.log_scale = nn.Parameter(torch.full((heads,), math.log(FIRST_SCALE)))
        self.proj = nn.Linear(width, width)

    def forward(
        self, x_NLC: Tensor, rotation: Rotation, attend: Attend, cache: KeyValues | None = None
    ) -> Tensor:
        """Return the attention output of each position, [N, L, C]."""
        # A bias of the keys would add the same value to all scores of a query, with no effect.
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        q, k, v = _heads(F.linear(x_NLC, self.qkv.weight, bias), 3, self.heads)
        scale = self.log_scale.clamp(max=math.log(MAX_SCALE)).exp()
        q = rotation(F.normalize(q, dim=-1) * scale[:, None, None]).to(v.dtype)
        k = rotation(F.normalize(k, dim=-1)).to(v.dtype)
        if cache is not None:
            k, v = cache.extend(k, v)
        return self.proj(attend(q, k, v).transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Attention of the positions to the context."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width, bias=False)
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def key_values(self, context_NTC: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values of the context, [N, H, T, W] each."""
        return _key_values(self.kv, self.v_bias, context_NTC, self.heads)

    def forward(self, x_NLC: Tensor, key_values: tuple[Tensor, Tensor], seen_NT: Tensor) -> Tensor:
        """Return the attention output of each position, [N, L, C]."""
        (q,) = _heads(self.query(x_NLC), 1, self.heads)
        return self.proj(scaled(q, *key_values, seen_NT).transpose(1, 2).flatten(2))


class AttentivePool(nn.Module):
    """Pools a context into one vector, with a learned query."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.empty(heads, width // heads))
        self.kv = nn.Linear(width, 2 * width, bias=False)
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, context_NTC: Tensor, seen_NT: Tensor) -> Tensor:
        """Return one vector per image, [N, C]."""
        k, v = _key_values(self.kv, self.v_bias, context_NTC, self.heads)
        q = self.query[None, :, None].to(k.dtype).expand(len(k), -1, -1, -1)
        return self.proj(scaled(q, k, v, seen_NT).flatten(1))


def _key_values(
    kv: nn.Linear, v_bias: Tensor, context_NTC: Tensor, heads: int
) -> tuple[Tensor, Tensor]:
    bias = torch.cat([torch.zeros_like(v_bias), v_bias])
    k, v = _heads(F.linear(context_NTC, kv.weight, bias), 2, heads)
    return k, v


def _heads(x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """Split [N, L, parts * C] into `parts` tensors [N, H, L, W]."""
    return x.unflatten(-1, (parts, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
