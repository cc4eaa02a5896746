import pytest
import torch

from model.vargpt.conditioning import ConstantConditioning, ContextConditioning

SEEN = torch.tensor([[True] * 3 + [False] * 2, [True] * 5])
NONE = torch.tensor([False, False])


def drawn(kind: type, unconditional: int = 4):
    conditioning = kind(16, 2, unconditional)
    generator = torch.Generator().manual_seed(0)
    for weight in conditioning.parameters():
        torch.nn.init.normal_(weight, generator=generator)
    return conditioning


def context(seed: int = 1) -> torch.Tensor:
    return torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_the_vector_is_of_the_context_that_is_seen() -> None:
    conditioning, mine = drawn(ContextConditioning), context()
    vector = conditioning(mine, SEEN, NONE).vector_NC
    unseen = mine.clone()
    unseen[0, 3:] = 9.0
    torch.testing.assert_close(conditioning(unseen, SEEN, NONE).vector_NC, vector)
    seen = mine.clone()
    seen[0, 2] = 9.0
    moved = conditioning(seen, SEEN, NONE).vector_NC != vector
    assert (moved[0].any(), moved[1].any()) == (True, False)


@torch.no_grad()
@pytest.mark.parametrize("unconditional", [2, 4, 9])
def test_without_its_context_an_image_has_the_unconditional_vectors(unconditional: int) -> None:
    conditioning = drawn(ContextConditioning, unconditional)
    mixed = conditioning(context(), SEEN, torch.tensor([False, True]))
    blank = conditioning.unconditioned(context(2), SEEN)
    assert mixed.seen_NT.sum(dim=1).tolist() == [3, unconditional]
    torch.testing.assert_close(mixed.vector_NC[1], blank.vector_NC[0])
    known = conditioning(
        conditioning.unconditional[None], torch.ones(1, unconditional).bool(), NONE[:1]
    )
    torch.testing.assert_close(blank.context_NTC[0][blank.seen_NT[0]], known.context_NTC[0])
    plain = conditioning(context(), SEEN, NONE)
    torch.testing.assert_close(mixed.vector_NC[0], plain.vector_NC[0])


@torch.no_grad()
def test_the_constant_vector_is_the_same_whatever_the_context() -> None:
    conditioning = drawn(ConstantConditioning, 8)
    one, other = (conditioning(context(seed), SEEN, NONE) for seed in (1, 2))
    assert torch.equal(one.vector_NC, other.vector_NC)
    assert torch.equal(one.vector_NC[0], one.vector_NC[1])
    assert torch.equal(one.context_NTC, context(1)), "no norm, no projection"
    without = conditioning(context(), SEEN, ~NONE)
    assert torch.equal(without.context_NTC, context()), "training drops the vector alone"
    assert not torch.equal(without.vector_NC, one.vector_NC)
    blank = conditioning.unconditioned(context(), SEEN)
    assert torch.equal(blank.context_NTC[1], conditioning.unconditional[:5])
    assert torch.equal(blank.vector_NC, without.vector_NC)


@torch.no_grad()
def test_conditions_of_different_lengths_go_together() -> None:
    conditioning = drawn(ContextConditioning, 9)
    with_context = conditioning(context(), SEEN, NONE)
    both = with_context.and_also(conditioning.unconditioned(context(), SEEN))
    assert both.seen_NT.sum(dim=1).tolist() == [3, 5, 9, 9]
    assert both.context_NTC.shape == (4, 9, 16)
    assert both.vector_NC.shape == (4, 16)
