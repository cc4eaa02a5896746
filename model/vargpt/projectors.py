"""The two small networks between the visual decoder's width and the language model's."""

import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6


class Projector(nn.Module):
    """A norm, where asked for, and two layers with GELU between them.

    The released code has the norm's weights and does not apply it.
    """

    def __init__(self, width: int, width_out: int, norm: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=EPS) if norm else None
        self.up = nn.Linear(width, width)
        self.down = nn.Linear(width, width_out)

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., width_out] of [..., width]."""
        if self.norm is not None:
            x = self.norm(x)
        return self.down(F.gelu(self.up(x)))
