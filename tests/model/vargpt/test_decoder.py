from dataclasses import replace

import pytest
import torch

from model.tokenizers.protocol import count_codes, scale_slices
from model.tokenizers.schedules import bsq_schedule
from model.vargpt.codes import bits, indices
from model.vargpt.conditioning import Condition
from model.vargpt.config import TINY, DecoderConfig
from model.vargpt.decoder import Decoder, DecoderCache


def condition(count: int, width: int = 64) -> Condition:
    generator = torch.Generator().manual_seed(3)
    return Condition(
        vector_NC=torch.randn(count, width, generator=generator),
        context_NTC=torch.randn(count, 6, width, generator=generator),
        seen_NT=torch.arange(6) < torch.tensor([4, 6])[:count, None],
    )


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4))


def build(config: DecoderConfig = TINY.decoder) -> Decoder:
    torch.manual_seed(0)
    decoder = Decoder(config, bits(32), "context").eval()
    for linear in (decoder.modulation, decoder.head_norm.lin):
        torch.nn.init.normal_(linear.weight, std=0.1)
    return decoder


@pytest.mark.parametrize("codes", [bits(32), indices(4096, 32)])
@torch.no_grad()
def test_every_position_has_the_logits_of_its_codes(codes) -> None:
    decoder = Decoder(TINY.decoder, codes, "context").eval()
    schedule = bsq_schedule(1.25, 256)
    count = count_codes(schedule)
    logits = decoder(noise(2, count, 64), condition(2), schedule)
    assert logits.shape == (2, count, codes.logits)


@torch.no_grad()
def test_scale_by_scale_through_the_caches_is_the_same_as_all_at_once() -> None:
    decoder, schedule = build(), bsq_schedule(1.25, 256)
    x = noise(2, count_codes(schedule), 64)
    whole = decoder(x, condition(2), schedule)
    cache = DecoderCache(2)
    found = [
        decoder(x[:, part], condition(2), schedule, scale, cache)
        for scale, part in enumerate(scale_slices(schedule))
    ]
    torch.testing.assert_close(torch.cat(found, dim=1), whole, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_condition_modulates_and_the_context_that_is_not_seen_does_not() -> None:
    decoder, schedule = build(), ((1, 1), (2, 2))
    x, mine = noise(2, 5, 64), condition(2)
    logits = decoder(x, mine, schedule)
    moved = decoder(x, replace(mine, vector_NC=mine.vector_NC + 1), schedule) - logits
    assert (moved.abs().amax(dim=2) > 1e-4).all()
    unseen = mine.context_NTC.clone()
    unseen[0, 4:] += 1
    torch.testing.assert_close(decoder(x, replace(mine, context_NTC=unseen), schedule), logits)


def test_whole_branches_are_dropped_in_training_alone() -> None:
    decoder = build(replace(TINY.decoder, drop_path=0.9))
    assert [block.drop_path for block in decoder.blocks] == pytest.approx([0.0, 0.9])
    x, schedule = noise(2, 5, 64), ((1, 1), (2, 2))
    torch.testing.assert_close(
        decoder(x, condition(2), schedule), decoder(x, condition(2), schedule)
    )
    decoder.train()
    drawn = {decoder(x, condition(2), schedule).sum().item() for _ in range(20)}
    assert len(drawn) > 1


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 4: 64 / 32"):
        DecoderConfig(width=64, heads=32)
