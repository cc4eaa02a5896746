import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.vargpt.sampling import Sampling, choose, generators, guide, keep


def kept_by_brute_force(logits: list[float], top_k: int, top_p: float) -> set[int]:
    order = sorted(range(len(logits)), key=lambda choice: -logits[choice])
    order = order[: top_k or None]
    total = sum(math.exp(logits[choice]) for choice in order)
    kept, reached = set(), 0.0
    for choice in order:
        if top_p < 1 and reached >= top_p:
            break
        kept.add(choice)
        reached += math.exp(logits[choice]) / total
    return kept


@settings(deadline=None, max_examples=60)
@given(
    logits=st.lists(st.integers(-40, 40), min_size=1, max_size=9, unique=True),
    top_k=st.integers(0, 10),
    top_p=st.sampled_from([0.05, 0.5, 0.77, 0.9, 0.97, 1.0]),
)
def test_what_is_kept_is_what_brute_force_keeps(logits, top_k, top_p) -> None:
    values = [value / 10 for value in logits]
    found = keep(torch.tensor([values]), top_k, top_p)[0]
    expected = kept_by_brute_force(values, top_k, top_p)
    assert set(torch.isfinite(found).nonzero().flatten().tolist()) == expected


def test_a_bit_is_sure_once_its_likelier_side_reaches_top_p() -> None:
    sure = torch.tensor([[0.97, 0.03], [0.96, 0.04]]).log()
    assert keep(sure, 0, 0.965).isfinite().tolist() == [[True, False], [True, True]]


def test_shares_of_what_is_drawn_are_the_probabilities() -> None:
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().expand(1, 20000, 1, 4)
    drawn = choose(logits, generators(["key"]), temperature=1.0)
    shares = torch.bincount(drawn.flatten(), minlength=4) / 20000
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.2, 0.3, 0.4]), atol=0.015, rtol=0)
    colder = choose(logits, generators(["key"]), temperature=0.5)
    shares = torch.bincount(colder.flatten(), minlength=4) / 20000
    expected = torch.tensor([1.0, 4, 9, 16]) / 30
    torch.testing.assert_close(shares, expected, atol=0.015, rtol=0)


def test_a_sample_draws_the_same_whatever_its_neighbours() -> None:
    logits = torch.randn(3, 5, 4, 7, generator=torch.Generator().manual_seed(0))
    together = choose(logits, generators(["a", "b", "c"]), temperature=1.0, top_p=0.9)
    for row, key in enumerate("abc"):
        alone = choose(logits[row : row + 1], generators([key]), temperature=1.0, top_p=0.9)
        assert torch.equal(alone[0], together[row])
    again = choose(logits, generators(["c", "b", "a"]), temperature=1.0, top_p=0.9)
    assert not torch.equal(again[0], together[0])


def test_draws_of_a_key_stay_what_they_were() -> None:
    logits = torch.zeros(1, 1, 16, 2)
    drawn = choose(logits, generators(["a sample's key"]), temperature=1.0).flatten().tolist()
    assert drawn == [1, 1, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 1, 0]


def test_no_choice_of_probability_0_is_drawn() -> None:
    logits = torch.tensor([-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]).expand(1, 5000, 1, 5)
    assert set(choose(logits, generators(["key"]), temperature=1.0).flatten().tolist()) == {1, 3}


def test_at_temperature_0_the_likeliest_is_taken_and_nothing_is_drawn() -> None:
    stream = generators(["key"])
    before = stream[0].get_state()
    logits = torch.tensor([[[[0.0, 2.0, 2.0]]]])
    assert choose(logits, stream, temperature=0.0).item() == 1
    assert torch.equal(stream[0].get_state(), before)


def test_guidance_of_1_is_none_and_more_leads_away() -> None:
    with_context, without = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0])
    assert guide(with_context, without, 1.0).tolist() == [1.0, 2.0]
    assert guide(with_context, without, 3.0).tolist() == [1.0, 4.0]


@pytest.mark.parametrize("wrong", [{"top_p": 0.0}, {"top_k": -1}, {"temperature": -0.1}])
def test_values_out_of_their_range_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match=r"expected top_p|expected temperatures and top_k"):
        Sampling(**wrong)
