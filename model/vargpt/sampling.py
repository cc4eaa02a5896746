"""Sampling of codes and text from logits: temperature, top-k, top-p, guidance, seeds per sample.

Shapes: B samples, n positions, K elements per position, V choices per element.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import torch
from torch import Tensor

from schemas.store.errors import SettingsError


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """The settings of sampling; the defaults are those of the released code.

    The paper has guidance 1.5 and top_p 0.95.

    Raises:
        SettingsError: a value is out of its range.
    """

    guidance: float = 3.0  # 1 for none; larger values follow the context more
    temperature: float = 0.5  # of the codes; 0 for the most likely code
    top_k: int = 900  # choices per element; 0 for all
    top_p: float = 0.97  # probability per element; 1 for all
    text_temperature: float = 0.0

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and self.text_temperature >= 0 and self.top_k >= 0):
            raise SettingsError(f"expected temperatures and top_k of 0 or more, got {self}")
        if not 0 < self.top_p <= 1:
            raise SettingsError(f"expected top_p above 0 and at most 1, got {self.top_p}")


GREEDY = Sampling(guidance=1.0, temperature=0.0, top_k=0, top_p=1.0)


def generators(keys: Sequence[str]) -> list[torch.Generator]:
    """Return a stream of random numbers for each key, the same on every machine and device."""
    return [torch.Generator().manual_seed(_seed(key)) for key in keys]


def _seed(key: str) -> int:
    # torch takes seeds of 63 bits on every device.
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) >> 1


def guide(with_context: Tensor, without: Tensor, guidance: float) -> Tensor:
    """Return guided logits: those with context, moved away from those without."""
    return guidance * with_context + (1 - guidance) * without


def choose(
    logits_BnKV: Tensor,
    streams: Sequence[torch.Generator],
    *,
    temperature: float,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Tensor:
    """Draw a choice for each element, int64 [B, n, K]; each sample from its own stream.

    At temperature 0 it is the most likely choice, on a tie the first, and nothing is drawn.
    """
    if temperature == 0:
        return logits_BnKV.argmax(dim=-1)
    kept_BnKV = keep(logits_BnKV.float() / temperature, top_k, top_p)
    sums_BnKV = kept_BnKV.softmax(dim=-1).double().cumsum(dim=-1)
    shape = logits_BnKV.shape[1:-1]
    # Draw on the CPU, for the same numbers on every device; per sample, for any batch.
    draws = [torch.rand(shape, generator=stream, dtype=torch.float64) for stream in streams]
    drawn_BnK1 = torch.stack(draws).to(sums_BnKV.device).unsqueeze(-1) * sums_BnKV[..., -1:]
    return torch.searchsorted(sums_BnKV, drawn_BnK1, right=True).squeeze(-1)


def keep(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """Return logits with -inf for the excluded choices.

    It keeps the `top_k` most likely choices (and ties), and of these the fewest, most likely first,
    whose probabilities reach `top_p`. The most likely choice is always kept.
    """
    choices = logits.shape[-1]
    if 0 < top_k < choices:
        least = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True, stable=True)
        shares = ordered.softmax(dim=-1)
        enough = shares.cumsum(dim=-1) - shares >= top_p
        logits = logits.masked_fill(enough.gather(-1, order.argsort(dim=-1)), -torch.inf)
    return logits
