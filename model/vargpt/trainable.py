"""The weights that each stage of VARGPT-v1.1 trains (arXiv 2504.02949, figure 5).

The image tokenizer is not part of the model and never trained. docs/reference/vargpt.md lists the
differences from the paper.
"""

from typing import Final, Literal

from torch import nn

from model.vargpt.vargpt import Vargpt

Stage = Literal["pretrain", "understand", "sft256", "dpo256", "sft512", "dpo512", "edit"]

PROJECTORS: Final = ("projector_in.", "projector_out.")
# New like the projectors: the figure does not show it, but the released code trains it with them.
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
"""Name prefixes of the trained weights, by stage."""


def trains_language(stage: Stage) -> bool:
    """Return whether a stage trains weights that words without images reach."""
    return bool({*STAGES[stage]} & {*LANGUAGE, *ALL})


def set_trainable(model: Vargpt, stage: Stage) -> list[nn.Parameter]:
    """Enable gradients for the weights that a stage trains and for no others; return them.

    Raises:
        ValueError: the stage is unknown.
    """
    if stage not in STAGES:
        raise ValueError(f"unknown stage {stage!r}, expected one of {list(STAGES)}")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(STAGES[stage]))
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
