import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.tokenizers.protocol import count_codes
from model.vargpt.attention import (
    AttentivePool,
    CrossAttention,
    KeyValues,
    SelfAttention,
    attend_all,
)
from model.vargpt.masks import attend_block_causal, block_causal, text_mask
from model.vargpt.rope2d import rotation

SCHEDULE = ((1, 1), (2, 2), (2, 3))
WIDTH, HEADS = 32, 2


def drawn(module: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(1)
    for weight in module.parameters():
        torch.nn.init.normal_(weight, std=0.3, generator=generator)
    return module


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def plain_softmax(q: Tensor, k: Tensor, v: Tensor, seen: Tensor, scale: float) -> Tensor:
    """Attend one head by a loop: q [L, W], k and v [T, W], seen [L, T]."""
    rows = []
    for query, sees in zip(q, seen, strict=True):
        scores = torch.tensor([scale * float(query @ key) for key in k])
        exp = torch.where(sees, scores.exp(), 0)
        rows.append((exp / exp.sum()) @ v)
    return torch.stack(rows)


@pytest.mark.parametrize("log_scale", [1.3, 9.0])
@torch.no_grad()
def test_self_attention_is_a_softmax_of_cosines(log_scale: float) -> None:
    attention = drawn(SelfAttention(WIDTH, HEADS))
    attention.log_scale.fill_(log_scale)
    x, turn = noise(1, 11, WIDTH), rotation(SCHEDULE, WIDTH // HEADS)
    q, k, v = (x[0] @ attention.qkv.weight.T).view(11, 3, HEADS, -1).unbind(1)
    q = q + attention.q_bias.view(HEADS, -1)
    v = v + attention.v_bias.view(HEADS, -1)
    seen = block_causal(SCHEDULE)
    heads = [
        plain_softmax(
            turn(F.normalize(q[:, head], dim=-1)),
            turn(F.normalize(k[:, head], dim=-1)),
            v[:, head],
            seen,
            min(math.exp(log_scale), 100),
        )
        for head in range(HEADS)
    ]
    expected = attention.proj(torch.cat(heads, dim=-1))
    attend = attend_block_causal(SCHEDULE, x.device, "sdpa")
    torch.testing.assert_close(attention(x, turn, attend)[0], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_cross_attention_is_a_softmax_over_the_context_that_is_seen() -> None:
    attention = drawn(CrossAttention(WIDTH, HEADS))
    x, context, seen = noise(1, 5, WIDTH), noise(1, 7, WIDTH), torch.arange(7) < 4
    q = attention.query(x[0]).view(5, HEADS, -1)
    k, v = (context[0] @ attention.kv.weight.T).view(7, 2, HEADS, -1).unbind(1)
    v = v + attention.v_bias.view(HEADS, -1)
    scale = (WIDTH // HEADS) ** -0.5
    heads = [
        plain_softmax(q[:, head], k[:, head], v[:, head], seen.expand(5, -1), scale)
        for head in range(HEADS)
    ]
    expected = attention.proj(torch.cat(heads, dim=-1))
    found = attention(x, attention.key_values(context), seen[None])
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_pool_is_a_softmax_by_a_learned_query() -> None:
    pool = drawn(AttentivePool(WIDTH, HEADS))
    context, seen = noise(1, 7, WIDTH), torch.arange(7) < 4
    k, v = (context[0] @ pool.kv.weight.T).view(7, 2, HEADS, -1).unbind(1)
    v = v + pool.v_bias.view(HEADS, -1)
    scale = (WIDTH // HEADS) ** -0.5
    heads = [
        plain_softmax(pool.query[head][None], k[:, head], v[:, head], seen[None], scale)
        for head in range(HEADS)
    ]
    expected = pool.proj(torch.cat(heads, dim=-1))
    torch.testing.assert_close(pool(context, seen[None]), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_scale_by_scale_through_the_cache_is_the_same_as_all_at_once() -> None:
    attention = drawn(SelfAttention(WIDTH, HEADS))
    x, turn = noise(2, 11, WIDTH), rotation(SCHEDULE, WIDTH // HEADS)
    whole = attention(x, turn, attend_block_causal(SCHEDULE, x.device, "sdpa"))
    cache = KeyValues()
    parts = [slice(0, 1), slice(1, 5), slice(5, 11)]
    found = [attention(x[:, part], turn[part], attend_all, cache) for part in parts]
    torch.testing.assert_close(torch.cat(found, dim=1), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.slow  # its import alone takes seconds
@torch.no_grad()
def test_flex_attention_is_the_same_as_the_explicit_mask() -> None:
    q, k, v = noise(3, 2, HEADS, count_codes(SCHEDULE), 16)
    kinds = [attend_block_causal(SCHEDULE, q.device, kind)(q, k, v) for kind in ("sdpa", "flex")]
    torch.testing.assert_close(kinds[0], kinds[1], rtol=1e-4, atol=1e-5)


def test_a_position_sees_its_own_scale_and_those_before() -> None:
    expected = [
        [one >= other for other in scales] for scales in [[0] + [1] * 4 + [2] * 6] for one in scales
    ]
    assert block_causal(SCHEDULE).tolist() == expected


@pytest.mark.parametrize("scales", [None, [0, 1, 1]])
@pytest.mark.parametrize("alone", [False, True])
def test_the_text_mask_is_that_of_a_plain_rule(scales: list[int] | None, alone: bool) -> None:
    used = torch.tensor([[True] * 8 + [False] * 2, [True] * 10])
    starts, pads = [3, 4], 4  # three positions of an image and one empty pad
    found = text_mask(
        used,
        torch.tensor([0, 1]),
        torch.tensor(starts),
        pads=pads,
        scale_L=None if scales is None else torch.tensor(scales),
        alone_N=torch.tensor([alone, False]),
    )

    def sees(row: int, query: int, key: int) -> bool:
        start = starts[row]
        inside = range(start, start + 3)
        if scales and query in inside and key in inside:
            return scales[key - start] <= scales[query - start]
        if alone and row == 0 and query in range(start, start + pads):
            return start <= key <= query
        return (key <= query and bool(used[row, key])) or key == query

    expected = [[[sees(row, q, k) for k in range(10)] for q in range(10)] for row in range(2)]
    assert found[:, 0].tolist() == expected
