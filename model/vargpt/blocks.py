"""A block of the visual decoder, and the norm before its head (Infinity's; AdaLN shared by all).

Shapes: N images, L positions, T context vectors, C width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.vargpt.attention import Attend, CrossAttention, KeyValues, SelfAttention
from model.vargpt.conditioning import Condition
from model.vargpt.rope2d import Rotation

EPS = 1e-6


class BlockCache:
    """Keys and values that a block keeps: of the previous scales, and of the constant context."""

    def __init__(self) -> None:
        self.image = KeyValues()
        self.context: tuple[Tensor, Tensor] | None = None


class FeedForward(nn.Module):
    """Two layers with tanh-approximated GELU between them."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, ratio * width)
        self.down = nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., C] to [..., C]."""
        return self.down(F.gelu(self.up(x), approximate="tanh"))


class Block(nn.Module):
    """Self-attention, cross-attention and feed-forward, each with a residual connection.

    Self-attention and feed-forward have a scale and shift before and a gate after. These six
    vectors are the sum of the block's own and the condition's, which all blocks share.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.own = nn.Parameter(torch.zeros(6, width))  # gates, scales, shifts, two of each
        self.attention = SelfAttention(width, heads)
        self.context_norm = nn.LayerNorm(width, eps=EPS)
        self.cross_attention = CrossAttention(width, heads)
        self.feed_forward = FeedForward(width, mlp_ratio)

    def forward(
        self,
        x_NLC: Tensor,
        modulation_N6C: Tensor,
        condition: Condition,
        rotation: Rotation,
        attend: Attend,
        cache: BlockCache | None = None,
    ) -> Tensor:
        """Return [N, L, C]; with a cache, the L positions follow the cached ones."""
        six = (self.own + modulation_N6C)[:, :, None].unbind(1)
        gate, feed_gate, scale, feed_scale, shift, feed_shift = six
        attended = self.attention(
            _modulate(x_NLC, scale, shift), rotation, attend, cache and cache.image
        )
        x_NLC = x_NLC + self._drop(attended * gate)
        key_values = self._context(condition, cache)
        x_NLC = x_NLC + self.cross_attention(
            self.context_norm(x_NLC), key_values, condition.seen_NT
        )
        fed = self.feed_forward(_modulate(x_NLC, feed_scale, feed_shift))
        return x_NLC + self._drop(fed * feed_gate)

    def _context(self, condition: Condition, cache: BlockCache | None) -> tuple[Tensor, Tensor]:
        if cache is None:
            return self.cross_attention.key_values(condition.context_NTC)
        if cache.context is None:
            cache.context = self.cross_attention.key_values(condition.context_NTC)
        return cache.context

    def _drop(self, x_NLC: Tensor) -> Tensor:
        """Drop a branch for random images, in training mode (stochastic depth)."""
        if not (self.training and self.drop_path):
            return x_NLC
        kept_N = torch.rand(len(x_NLC), 1, 1, device=x_NLC.device) >= self.drop_path
        return x_NLC * kept_N / (1 - self.drop_path)


class HeadNorm(nn.Module):
    """The norm before the head, scaled and shifted by the condition."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lin = nn.Linear(width, 2 * width)

    def forward(self, x_NLC: Tensor, condition_NC: Tensor) -> Tensor:
        """Return [N, L, C]."""
        scale, shift = self.lin(F.silu(condition_NC)).unflatten(-1, (2, -1))[:, :, None].unbind(1)
        return _modulate(x_NLC, scale, shift)


def _modulate(x_NLC: Tensor, scale_N1C: Tensor, shift_N1C: Tensor) -> Tensor:
    return F.layer_norm(x_NLC, x_NLC.shape[-1:], eps=EPS) * (1 + scale_N1C) + shift_N1C
