"""The weights that a visual decoder begins with.

At first the condition modulates nothing, and every branch adds little to its shortcut.
"""

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from model.vargpt.attention import AttentivePool
from model.vargpt.blocks import Block

if TYPE_CHECKING:
    from model.vargpt.decoder import Decoder


@torch.no_grad()
def draw_weights(decoder: "Decoder") -> None:
    """Draw all weights anew, from torch's own generator."""
    width, depth = decoder.config.width, decoder.config.depth
    std = math.sqrt(1 / (3 * width))  # as Infinity draws them
    for module in decoder.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in decoder.modules():
        if isinstance(module, AttentivePool):
            nn.init.trunc_normal_(module.query, std=std)
        elif isinstance(module, Block):
            module.own[:2] = 1  # both gates
            branches = module.attention.proj, module.cross_attention.proj, module.feed_forward.down
            for last in branches:
                last.weight /= math.sqrt(2 * depth)
    conditioning = decoder.conditioning
    for drawn in (conditioning.start, decoder.start_position, decoder.level_embed):
        nn.init.trunc_normal_(drawn, std=std)
    nn.init.trunc_normal_(conditioning.unconditional, std=1.2 / math.sqrt(width))
    nn.init.trunc_normal_(decoder.word_embed.weight, std=decoder.word_embed.in_features**-0.5)
    for linear in (decoder.modulation, decoder.head_norm.lin):
        nn.init.zeros_(linear.weight)
