"""The visual decoder: Infinity's transformer, fed by the language model (arXiv 2412.04431).

Shapes: N images, L positions over all scales, n positions of this call, D channels of the codes, C
width, U logits per position.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.tokenizers.protocol import Schedule, scale_slices
from model.vargpt.attention import Attend, AttentivePool, attend_all
from model.vargpt.blocks import Block, BlockCache, HeadNorm
from model.vargpt.codes import CodeHead
from model.vargpt.conditioning import Condition, ConstantConditioning, ContextConditioning
from model.vargpt.config import Conditioning, DecoderConfig
from model.vargpt.masks import attend_block_causal, scale_of
from model.vargpt.rope2d import rotation

CONDITIONINGS = {"context": ContextConditioning, "constant": ConstantConditioning}


class DecoderCache:
    """Keys and values that generation keeps between scales."""

    def __init__(self, depth: int) -> None:
        self.blocks = [BlockCache() for _ in range(depth)]


class Decoder(nn.Module):
    """Embeds next-scale inputs for the language model; turns its output into logits of codes.

    Args:
        config: sizes.
        codes: the layout of the codes.
        conditioning: which of the two kinds; see conditioning.py.
    """

    def __init__(self, config: DecoderConfig, codes: CodeHead, conditioning: Conditioning) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.conditioning: ContextConditioning | ConstantConditioning = CONDITIONINGS[conditioning](
            width, config.heads, config.unconditional
        )
        self.start_position = nn.Parameter(torch.empty(width))
        self.word_embed = nn.Linear(codes.width, width)
        self.level_embed = nn.Parameter(torch.empty(config.levels, width))
        self.modulation = nn.Linear(width, 6 * width)
        step = config.drop_path / max(1, config.depth - 1)
        self.blocks = nn.ModuleList(
            Block(width, config.heads, config.mlp_ratio, number * step)
            for number in range(config.depth)
        )
        self.head_norm = HeadNorm(width)
        self.head = nn.Linear(width, codes.logits)
        self.checkpointing = False  # recompute blocks in the backward pass instead of keeping them
        if not self.head.weight.is_meta:
            _draw_weights(self)

    def first_inputs(self, without_N: Tensor) -> Tensor:
        """Return the inputs of the first scale, [N, 1, C], which no scale precedes."""
        return (self.conditioning.first_inputs(without_N) + self.start_position)[:, None]

    def forward(
        self,
        x_NnC: Tensor,
        condition: Condition,
        schedule: Schedule,
        scale: int | None = None,
        cache: DecoderCache | None = None,
    ) -> Tensor:
        """Return the logits of positions, [N, n, U].

        Args:
            x_NnC: the projected output of the language model.
            condition: of each image.
            schedule: of the whole image.
            scale: number of the only scale in `x_NnC`; None for all scales.
            cache: of the previous scales, with `scale` only.
        """
        part = slice(None) if scale is None else scale_slices(schedule)[scale]
        device = x_NnC.device
        turn = rotation(schedule, self.config.width // self.config.heads, device)[part]
        x_NnC = x_NnC + self.level_embed[scale_of(schedule, device)[part]]
        attend = attend_all
        if scale is None:
            attend = attend_block_causal(schedule, device, self.config.attention)
        modulation_N6C = self.modulation(F.silu(condition.vector_NC)).unflatten(-1, (6, -1))
        for number, block in enumerate(self.blocks):
            kept = cache.blocks[number] if cache else None
            x_NnC = self._run(block, x_NnC, modulation_N6C, condition, turn, attend, kept)
        return self.head(self.head_norm(x_NnC, condition.vector_NC))

    def _run(self, block: nn.Module, *inputs: Tensor | Condition | Attend | object) -> Tensor:
        if self.checkpointing and self.training:
            return checkpoint(block, *inputs, use_reentrant=False)  # type: ignore[return-value]
        return block(*inputs)


@torch.no_grad()
def _draw_weights(decoder: Decoder) -> None:
    """Draw the initial weights from torch's global generator.

    Initially the condition modulates nothing, and every branch adds little to its shortcut.
    """
    width, depth = decoder.config.width, decoder.config.depth
    std = math.sqrt(1 / (3 * width))  # as in Infinity
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
