"""Attention masks: between the positions of an image, and in the language model.

Shapes: B sequences, S positions of the text, N images, L positions of an image.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from model.tokenizers.protocol import Schedule, count_codes, scale_slices
from model.vargpt.attention import Attend


def scale_of(schedule: Schedule, device: torch.device | None = None) -> Tensor:
    """Return the number of each position's scale, int64 [L].

    >>> scale_of(((1, 1), (2, 2))).tolist()
    [0, 1, 1, 1, 1]
    """
    sizes = torch.tensor([part.stop - part.start for part in scale_slices(schedule)])
    return torch.arange(len(schedule)).repeat_interleave(sizes).to(device)


def block_causal(schedule: Schedule, device: torch.device | None = None) -> Tensor:
    """Return the mask bool [L, L]: a position (row) sees its own scale and all before."""
    scale_L = scale_of(schedule, device)
    return scale_L[:, None] >= scale_L[None, :]


def attend_block_causal(schedule: Schedule, device: torch.device, kind: str) -> Attend:
    """Return the attention of a whole image, through an explicit mask or FlexAttention."""
    if kind == "flex":
        return _flex(schedule, device)
    seen_LL = block_causal(schedule, device)
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=seen_LL, scale=1.0)


@cache
def _flex(schedule: Schedule, device: torch.device) -> Attend:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    length = count_codes(schedule)
    # The cached mask is used in training too, so it must not be an inference tensor.
    with torch.inference_mode(False):
        scale_L = scale_of(schedule, device)

        def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return scale_L[query] >= scale_L[key]

        mask = create_block_mask(seen, None, None, length, length, device=str(device))
    attend = torch.compile(flex_attention) if device.type == "cuda" else flex_attention
    return lambda q, k, v: attend(q, k, v, block_mask=mask, scale=1.0)


def text_mask(
    attention_mask_BS: Tensor,
    image_rows_N: Tensor,
    image_starts_N: Tensor,
    *,
    pads: int,
    scale_L: Tensor | None,
    alone_N: Tensor,
) -> Tensor:
    """Return which position (row) of the text sees which (column), bool [B, 1, S, S].

    Every position sees itself and the positions before it, but no padding. `scale_L` and `alone_N`
    are exceptions.

    Args:
        attention_mask_BS: False on padding.
        image_rows_N: the sequence of each image.
        image_starts_N: the first position of each image.
        pads: number of positions of an image in the text.
        scale_L: scale of each position, if the positions of a scale see each other; else None.
        alone_N: bool, images whose positions see only their own image.
    """
    length = attention_mask_BS.shape[1]
    seen_SS = torch.ones(length, length, dtype=torch.bool, device=attention_mask_BS.device).tril()
    seen_BSS = seen_SS & attention_mask_BS[:, None, :]
    for row, start, alone in zip(
        image_rows_N.tolist(), image_starts_N.tolist(), alone_N.tolist(), strict=True
    ):
        if alone:
            seen_BSS[row, start : start + pads, :start] = False
        if scale_L is not None:
            part = slice(start, start + len(scale_L))
            seen_BSS[row, part, part] |= scale_L[:, None] == scale_L[None, :]
    # The result of a row that sees nothing would be NaN.
    return (seen_BSS | torch.eye(length, dtype=torch.bool, device=seen_BSS.device)).unsqueeze(1)
