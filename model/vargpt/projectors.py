"""The small networks that map between the widths of visual decoder and language model."""

import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6


class Projector(nn.Module):
    """An optional norm, and two layers with GELU between them.

    The released code has the weights of the norm but does not apply it.
    """

    def __init__(self, width: int, width_out: int, norm: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=EPS) if norm else None
        self.up = nn.Linear(width, width)
        self.down = nn.Linear(width, width_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., width] to [..., width_out]."""
        if self.norm is not None:
            x = self.norm(x)
        return self.down(F.gelu(self.up(x)))
