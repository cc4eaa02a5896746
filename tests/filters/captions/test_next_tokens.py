"""What is drawn follows the softmax of the scores, and each row's seed alone."""

import pytest
import torch
from torch import Tensor

from filters.captions.next_tokens import NextTokens

LIKELY = torch.tensor([0.5, 0.3, 0.15, 0.05])
DRAWS = 4_000


def drawn(likely: Tensor, temperature: float, top_p: float = 1.0) -> Tensor:
    """Return the share of each token among those drawn by rows of different seeds."""
    choose = NextTokens(
        range(DRAWS), temperature=temperature, top_p=top_p, device=torch.device("cpu")
    )
    scores = likely.log().expand(DRAWS, -1)
    tokens = choose(torch.zeros(DRAWS, 3, dtype=torch.long), scores).argmax(-1)
    assert choose.first == 3
    return tokens.bincount(minlength=len(likely)) / DRAWS


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_shares_are_those_of_the_softmax(temperature: float) -> None:
    expected = (LIKELY.log() / temperature).softmax(-1)
    # Five standard deviations of a share of 4,000 draws.
    assert torch.allclose(drawn(LIKELY, temperature), expected, atol=5 * 0.5 / DRAWS**0.5)


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.01, 1), (0.49, 1), (0.51, 2), (0.79, 2), (0.81, 3), (0.96, 4)]
)
def test_only_the_likeliest_that_make_up_top_p_are_drawn(top_p: float, kept: int) -> None:
    shares = drawn(LIKELY, 1.0, top_p)
    assert (shares > 0).tolist() == [place < kept for place in range(4)]


def test_a_row_draws_the_same_beside_any_others() -> None:
    scores = torch.randn(5, 50, generator=torch.Generator().manual_seed(0))
    before = torch.zeros(5, 1, dtype=torch.long)

    def tokens(seeds: list[int]) -> list[list[int]]:
        choose = NextTokens(seeds, temperature=1.0, top_p=0.9, device=torch.device("cpu"))
        return [choose(before[seeds], scores[seeds]).argmax(-1).tolist() for _ in range(6)]

    together = torch.tensor(tokens([0, 1, 2, 3, 4]))
    assert torch.equal(torch.tensor(tokens([3, 1])), together[:, [3, 1]])


def test_the_likeliest_token_is_taken_at_temperature_0() -> None:
    choose = NextTokens([0], temperature=0.0, top_p=0.5, device=torch.device("cpu"))
    scores = LIKELY[None]
    assert choose(torch.zeros(1, 2, dtype=torch.long), scores) is scores
