"""Which weights each stage of VARGPT-v1.1 trains (arXiv 2504.02949, figure 5).

The tokenizer is no part of the model and never trained. docs/reference/vargpt.md has what differs.
"""

from typing import Final, Literal

from torch import nn

from model.vargpt.vargpt import Vargpt

Stage = Literal["pretrain", "understand", "sft256", "dpo256", "sft512", "dpo512", "edit"]

PROJECTORS: Final = ("projector_in.", "projector_out.")
# As new as the projectors: the figure does not show it, the released code trains it with them.
START: Final = ("decoder.conditioning.start",)
LANGUAGE: Final = ("backbone.qwen.model.language_model.", "backbone.qwen.lm_head.")
MERGER: Final = ("backbone.qwen.model.visual.merger.",)
GENERATION: Final = (*PROJECTORS, "decoder.")
ALL: Final = ("",)

STAGES: Final[dict[Stage, tuple[str, ...]]] = {
    "pretrain": (*PROJECTORS, *START),
    "understand": (*LANGUAGE, *MERGER),
    "sft256": GENERATION,
    "dpo256": GENERATION,
    "sft512": GENERATION,
    "dpo512": GENERATION,
    "edit": ALL,
}
"""Beginnings of the names of what is trained, by stage."""


def set_trainable(model: Vargpt, stage: Stage) -> list[nn.Parameter]:
    """Let gradients reach what a stage trains and nothing else, and return it.

    Raises:
        ValueError: an unknown stage.
    """
    if stage not in STAGES:
        raise ValueError(f"unknown stage {stage!r}, expected one of {list(STAGES)}")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(STAGES[stage]))
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
