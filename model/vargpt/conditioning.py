"""What the decoder goes by: the context it attends to, and one vector that modulates every norm.

The context is what the language model made of all that stands before an image. Some images are
trained without it, so that generation can lead away from what the model draws unasked
(classifier-free guidance, arXiv 2207.12598); `unconditional` vectors stand in its place.

Shapes: N images, T vectors of context, U unconditional ones, C width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.vargpt.attention import AttentivePool

EPS = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Condition:
    """What one pass of the decoder goes by."""

    vector_NC: Tensor
    context_NTC: Tensor
    seen_NT: Tensor  # bool; False where an image's context is shorter

    def and_also(self, other: "Condition") -> "Condition":
        """Return both, one after the other along N."""
        longest = max(self.seen_NT.shape[1], other.seen_NT.shape[1])
        both = [_pad(each.context_NTC, each.seen_NT, longest) for each in (self, other)]
        return Condition(
            vector_NC=torch.cat([self.vector_NC, other.vector_NC]),
            context_NTC=torch.cat([context for context, _ in both]),
            seen_NT=torch.cat([seen for _, seen in both]),
        )


class _Conditioning(nn.Module):
    """What both kinds have: what stands for the context, and the pool that makes a vector of it."""

    def __init__(self, width: int, heads: int, unconditional: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.empty(width))
        self.unconditional = nn.Parameter(torch.empty(unconditional, width))
        self.norm = nn.RMSNorm(width, eps=EPS)
        self.pool = AttentivePool(width, heads)


class ContextConditioning(_Conditioning):
    """Vector and context both come from the prompt, as in Infinity; without it, both do not.

    The first input of an image in the language model is `start`, a learned constant.
    """

    isolates = True
    """Whether an image without its context must not see it in the language model either."""

    def __init__(self, width: int, heads: int, unconditional: int) -> None:
        super().__init__(width, heads, unconditional)
        self.up = nn.Linear(width, width)
        self.down = nn.Linear(width, width)

    def first_inputs(self, without_N: Tensor) -> Tensor:
        """Return the first input of each image, [N, C]; `without_N` (bool) have no context."""
        return self.start.expand(len(without_N), -1)

    def forward(self, context_NTC: Tensor, seen_NT: Tensor, without_N: Tensor) -> Condition:
        """Return the condition of each image; `without_N` (bool) get none of their context."""
        if without_N.any():
            context_NTC, seen_NT = self._replace(context_NTC, seen_NT, without_N)
        normed_NTC = self.norm(context_NTC)
        return Condition(
            vector_NC=self.pool(normed_NTC, seen_NT),
            context_NTC=self.down(F.gelu(self.up(normed_NTC), approximate="tanh")),
            seen_NT=seen_NT,
        )

    def unconditioned(self, context_NTC: Tensor, seen_NT: Tensor) -> Condition:
        """Return the condition of generation's unconditional half: what training had."""
        return self(context_NTC, seen_NT, torch.ones_like(seen_NT[:, 0]))

    def _replace(
        self, context_NTC: Tensor, seen_NT: Tensor, without_N: Tensor
    ) -> tuple[Tensor, Tensor]:
        longest = max(seen_NT.shape[1], len(self.unconditional))
        context_NTC, seen_NT = _pad(context_NTC, seen_NT, longest)
        blank_TC, blank_T = _pad(
            self.unconditional[None],
            torch.ones_like(seen_NT[:1, : len(self.unconditional)]),
            longest,
        )
        return (
            torch.where(without_N[:, None, None], blank_TC.to(context_NTC.dtype), context_NTC),
            torch.where(without_N[:, None], blank_T, seen_NT),
        )


class ConstantConditioning(_Conditioning):
    """As the released code does it: the vector is the same whatever the prompt.

    Training without the context leaves all of it in place but that constant. Generation's
    unconditional half then replaces the decoder's context too, by as many unconditional vectors.
    """

    isolates = False

    def first_inputs(self, without_N: Tensor) -> Tensor:
        """Return the first input of each image, [N, C]; `without_N` (bool) have no context."""
        source_NC = torch.where(without_N[:, None], self.unconditional[0], self.start)
        seen_N1 = torch.ones_like(without_N[:, None])
        return self.pool(self.norm(source_NC[:, None]), seen_N1)

    def forward(self, context_NTC: Tensor, seen_NT: Tensor, without_N: Tensor) -> Condition:
        """Return the condition of each image; `without_N` (bool) lose the vector alone."""
        return Condition(
            vector_NC=self.first_inputs(without_N), context_NTC=context_NTC, seen_NT=seen_NT
        )

    def unconditioned(self, context_NTC: Tensor, seen_NT: Tensor) -> Condition:
        """Return the condition of generation's unconditional half.

        Raises:
            ValueError: a longer context than there are unconditional vectors.
        """
        length, known = context_NTC.shape[1], len(self.unconditional)
        if length > known:
            raise ValueError(f"a context of {length}, the model has {known} unconditional vectors")
        blank_NTC = self.unconditional[:length].to(context_NTC.dtype).expand_as(context_NTC)
        return self(blank_NTC, seen_NT, torch.ones_like(seen_NT[:, 0]))


def _pad(context_NTC: Tensor, seen_NT: Tensor, length: int) -> tuple[Tensor, Tensor]:
    missing = length - seen_NT.shape[1]
    return F.pad(context_NTC, (0, 0, 0, missing)), F.pad(seen_NT, (0, missing))
