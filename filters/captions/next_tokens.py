"""The choice of the next token, row by row: the likeliest, or drawn with the row's own seed.

Letters in the names of tensors: B rows, S tokens so far, V tokens of the vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


class NextTokens:
    """A logits processor for `generate` without sampling, which then takes the largest score.

    To draw, noise of Gumbel's distribution is added to the scores: the largest sum is a draw from
    their softmax. Each row has its own generator, so what it draws depends on its seed alone.

    Args:
        seeds: of the rows.
        temperature: 0 for the likeliest token.
        top_p: share of the likeliest tokens that is drawn from.
        device: of the scores.
    """

    def __init__(
        self, seeds: Sequence[int], *, temperature: float, top_p: float, device: torch.device
    ) -> None:
        self.first = 0  # number of tokens before the answer, known after the first call
        self._begun = False
        self._temperature, self._top_p = temperature, top_p
        self._draws = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores [B, V] of the token that follows [B, S], with noise if one is drawn."""
        if not self._begun:
            self.first, self._begun = input_ids.shape[1], True
        if not self._temperature:
            return scores
        scores_BV = _likeliest(scores.float() / self._temperature, self._top_p)
        noise_BV = torch.empty_like(scores_BV)
        for row_V, draws in zip(noise_BV, self._draws, strict=True):
            row_V.exponential_(generator=draws)
        return scores_BV - noise_BV.log()


def _likeliest(scores_BV: Tensor, top_p: float) -> Tensor:
    """Leave out tokens that follow those which together are `top_p` likely; the first stays."""
    if top_p >= 1:
        return scores_BV
    sorted_BV, order_BV = scores_BV.sort(descending=True, stable=True)
    likely_BV = sorted_BV.softmax(-1)
    before_BV = likely_BV.cumsum(-1) - likely_BV
    kept_BV = sorted_BV.masked_fill(before_BV >= top_p, -torch.inf)
    kept_BV[:, 0] = sorted_BV[:, 0]
    return torch.empty_like(scores_BV).scatter_(1, order_BV, kept_BV)
