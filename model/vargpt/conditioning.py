"""The condition of the decoder: a context to attend to, and a vector that modulates every norm.

The context is the language model's output for all tokens before an image. Some images are trained
without context, for classifier-free guidance (arXiv 2207.12598); `unconditional` vectors replace
it.

Shapes: N images, T context vectors, U unconditional vectors, C width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.vargpt.attention import AttentivePool

EPS = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Condition:
    """The condition of one decoder pass."""

    vector_NC: Tensor
    context_NTC: Tensor
    seen_NT: Tensor  # bool; False where an image's context is shorter

    def and_also(self, other: "Condition") -> "Condition":
        """Return this condition and another, concatenated along N."""
        longest = max(self.seen_NT.shape[1], other.seen_NT.shape[1])
        both = [_pad(each.context_NTC, each.seen_NT, longest) for each in (self, other)]
        return Condition(
            vector_NC=torch.cat([self.vector_NC, other.vector_NC]),
            context_NTC=torch.cat([context for context, _ in both]),
            seen_NT=torch.cat([seen for _, seen in both]),
        )


class _Conditioning(nn.Module):
    """The weights of both kinds: start, unconditional vectors, norm, and pool of the context."""

    def __init__(self, width: int, heads: int, unconditional: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.empty(width))
        self.unconditional = nn.Parameter(torch.empty(unconditional, width))
        self.norm = nn.RMSNorm(width, eps=EPS)
        self.pool = AttentivePool(width, heads)


class ContextConditioning(_Conditioning):
    """Conditioning where vector and context both depend on the prompt, as in Infinity.

    The first input of an image in the language model is `start`, a learned constant.
    """

    isolates = True
    """Whether an image without context must not see it in the language model either."""

    def __init__(self, width: int, heads: int, unconditional: int) -> None:
        super().__init__(width, heads, unconditional)
        self.up = nn.Linear(width, width)
        self.down = nn.Linear(width, width)

    def first_inputs(self, without_N: Tensor) -> Tensor:
        """Return the first input of each image, [N, C]; True in `without_N`: no context."""
        return self.start.expand(len(without_N), -1)

    def forward(self, context_NTC: Tensor, seen_NT: Tensor, without_N: Tensor) -> Condition:
        """Return the condition of each image; True in `without_N`: no context."""
        if without_N.any():
            context_NTC, seen_NT = self._replace(context_NTC, seen_NT, without_N)
        normed_NTC = self.norm(context_NTC)
        return Condition(
            vector_NC=self.pool(normed_NTC, seen_NT),
            context_NTC=self.down(F.gelu(self.up(normed_NTC), approximate="tanh")),
            seen_NT=seen_NT,
        )

    def unconditioned(self, context_NTC: Tensor, seen_NT: Tensor) -> Condition:
        """Return the condition of generation's unconditional half, the same as in training."""
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
    """Conditioning of the released code, where the vector does not depend on the prompt.

    Training without context replaces only this vector and keeps the context. Generation's
    unconditional half also replaces the decoder's context, by equally many unconditional vectors.
    """

    isolates = False

    def first_inputs(self, without_N: Tensor) -> Tensor:
        """Return the first input of each image, [N, C]; True in `without_N`: no context."""
        source_NC = torch.where(without_N[:, None], self.unconditional[0], self.start)
        seen_N1 = torch.ones_like(without_N[:, None])
        return self.pool(self.norm(source_NC[:, None]), seen_N1)

    def forward(self, context_NTC: Tensor, seen_NT: Tensor, without_N: Tensor) -> Condition:
        """Return the condition of each image; True in `without_N`: only the vector is replaced."""
        return Condition(
            vector_NC=self.first_inputs(without_N), context_NTC=context_NTC, seen_NT=seen_NT
        )

    def unconditioned(self, context_NTC: Tensor, seen_NT: Tensor) -> Condition:
        """Return the condition of generation's unconditional half.

        Raises:
            ValueError: the context is longer than the unconditional vectors.
        """
        length, known = context_NTC.shape[1], len(self.unconditional)
        if length > known:
            raise ValueError(
                f"a context of {length} vectors, but the model has {known} unconditional vectors"
            )
        blank_NTC = self.unconditional[:length].to(context_NTC.dtype).expand_as(context_NTC)
        return self(blank_NTC, seen_NT, torch.ones_like(seen_NT[:, 0]))


def _pad(context_NTC: Tensor, seen_NT: Tensor, length: int) -> tuple[Tensor, Tensor]:
    missing = length - seen_NT.shape[1]
    return F.pad(context_NTC, (0, 0, 0, missing)), F.pad(seen_NT, (0, missing))
