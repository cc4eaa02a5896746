"""Sizes and choices of a VARGPT; `PRESETS` has the sizes in use.

Where the published code contradicts its paper, or training and generation differ, the default here
is the correct behaviour; `released` returns the choices that a released checkpoint needs. The table
in docs/reference/vargpt.md lists all differences.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Final, Literal

from model.vargpt.codes import CodeHead, bits
from schemas.store.errors import SettingsError

Conditioning = Literal["context", "constant"]

SPECIAL: Final = {
    "<|image_gen_start|>": "image_start",
    "<|image_gen_end|>": "image_end",
    "<|image_gen_pad|>": "image_pad",
    "<|im_end|>": "answer_end",
    "<|image_pad|>": "image_token",
    "<|video_pad|>": "video_token",
    "<|vision_start|>": "vision_start",
    "<|vision_end|>": "vision_end",
}
"""Special tokens, and the fields of `Marks` and `BackboneConfig` that hold their ids."""

ROWS_MULTIPLE: Final = 128  # rows of the embedding are a multiple, as Qwen2-VL's 152,064


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneConfig:
    """Size of a Qwen2-VL; the defaults are Qwen2-VL-7B-Instruct's."""

    vocab: int = 152064
    hidden: int = 3584
    layers: int = 28
    heads: int = 28
    kv_heads: int = 4
    mlp: int = 18944
    tied: bool = False  # the text head and the embedding share weights
    rope_sections: tuple[int, int, int] = (16, 24, 24)  # pairs of a head for time, height, width
    rope_theta: float = 1e6
    vision_depth: int = 32
    vision_width: int = 1280
    vision_heads: int = 16
    patch: int = 14  # px
    image_token: int = 151655
    video_token: int = 151656
    vision_start: int = 151652
    vision_end: int = 151653

    def __post_init__(self) -> None:
        if self.hidden % self.heads or self.heads % self.kv_heads:
            raise ValueError(
                f"expected hidden {self.hidden} a multiple of heads {self.heads}, and heads a "
                f"multiple of kv_heads {self.kv_heads}"
            )
        if 2 * sum(self.rope_sections) != self.hidden // self.heads:
            raise ValueError(f"expected {self.rope_sections} to sum to half a head's width: {self}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderConfig:
    """Size of the visual decoder; the defaults are Infinity-2B's."""

    width: int = 2048
    depth: int = 32
    heads: int = 16
    mlp_ratio: int = 4
    levels: int = 15  # most scales of a schedule
    unconditional: int = 512  # vectors that replace the context
    drop_path: float = 0.1  # of the last block, linear from 0 in the first; in training mode only
    attention: Literal["sdpa", "flex"] = "sdpa"  # flex: FlexAttention, on CUDA

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width // self.heads % 4:
            raise ValueError(f"a head's width must be a multiple of 4: {self.width} / {self.heads}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Marks:
    """Ids of the text tokens with a special meaning."""

    image_start: int = 151657  # <|image_gen_start|>
    image_end: int = 151658  # <|image_gen_end|>
    image_pad: int = 151659  # <|image_gen_pad|>, one per position of a generated image
    answer_end: int = 151645  # <|im_end|>


@dataclass(frozen=True, kw_only=True, slots=True)
class VargptConfig:
    """The config of a whole model.

    Raises:
        ValueError: the id of a mark is not in the vocabulary.
    """

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    codes: CodeHead = field(default_factory=lambda: bits(32))
    marks: Marks = field(default_factory=Marks)
    # The condition of the decoder's AdaLN and of its unconditional half; see conditioning.py.
    conditioning: Conditioning = "context"
    projector_norm: bool = True  # a LayerNorm before each projector
    # Attention between the positions of a scale, in the language model.
    within_scale: Literal["causal", "all"] = "causal"
    # Positions of input images, in training and generation: Qwen2-VL's grid, or counting up.
    image_positions: Literal["grid", "plain"] = "grid"
    # The pads of an image are rounded up to a multiple of this; the extra ones are empty.
    pad_multiple: int = 1

    def __post_init__(self) -> None:
        marks = self.marks
        for mark in (marks.image_start, marks.image_end, marks.image_pad, marks.answer_end):
            if not 0 <= mark < self.backbone.vocab:
                raise ValueError(f"{marks} do not fit a vocabulary of {self.backbone.vocab}")

    def pads(self, positions: int) -> int:
        """Return the number of pads in the text for an image with `positions` positions."""
        return -(-positions // self.pad_multiple) * self.pad_multiple


def with_vocabulary(config: VargptConfig, vocabulary: Mapping[str, int]) -> VargptConfig:
    """Return a config of the same sizes for another text tokenizer.

    Args:
        config: the config to change.
        vocabulary: ids by token, from the tokenizer's `get_vocab()`.

    Raises:
        SettingsError: the tokenizer lacks a special token of VARGPT.
    """
    lacking = [token for token in SPECIAL if token not in vocabulary]
    if lacking:
        raise SettingsError(f"the text tokenizer of {len(vocabulary)} tokens lacks {lacking}")
    ids = {name: vocabulary[token] for token, name in SPECIAL.items()}
    marks = Marks(**{each.name: ids.pop(each.name) for each in fields(Marks)})
    rows = -(-(max(vocabulary.values()) + 1) // ROWS_MULTIPLE) * ROWS_MULTIPLE
    return replace(config, backbone=replace(config.backbone, vocab=rows, **ids), marks=marks)


def released(config: VargptConfig) -> VargptConfig:
    """Return a config with the choices of the released VARGPT-v1.1."""
    return replace(
        config,
        conditioning="constant",
        projector_norm=False,
        image_positions="plain",
        pad_multiple=128,
    )


TINY: Final = VargptConfig(
    backbone=BackboneConfig(
        vocab=128,
        hidden=64,
        layers=2,
        heads=4,
        kv_heads=2,
        mlp=128,
        rope_sections=(2, 3, 3),
        vision_depth=1,
        vision_width=32,
        vision_heads=2,
        image_token=120,
        video_token=121,
        vision_start=122,
        vision_end=123,
    ),
    decoder=DecoderConfig(width=64, depth=2, heads=4, unconditional=4, drop_path=0.0),
    marks=Marks(image_start=124, image_end=125, image_pad=126, answer_end=127),
)

MINI: Final = VargptConfig(
    backbone=BackboneConfig(
        hidden=256,
        layers=4,
        heads=4,
        kv_heads=2,
        mlp=768,
        tied=True,
        rope_sections=(8, 12, 12),
        vision_depth=2,
        vision_width=64,
        vision_heads=2,
    ),
    decoder=DecoderConfig(width=256, depth=6, heads=4, unconditional=16, drop_path=0.0),
)

SMALL: Final = VargptConfig(
    backbone=BackboneConfig(
        hidden=512,
        layers=8,
        heads=8,
        kv_heads=2,
        mlp=2048,
        tied=True,
        rope_sections=(8, 12, 12),
        vision_depth=6,
        vision_width=256,
        vision_heads=4,
    ),
    decoder=DecoderConfig(width=512, depth=12, heads=8, unconditional=64),
)

PRESETS: Final = {"tiny": TINY, "mini": MINI, "small": SMALL, "v1_1": VargptConfig()}
"""`tiny` for tests, `mini` for hours on a CPU, `small` for an hour on one GPU, `v1_1` the published
7B + 2B. All use BSQ codes of 32 bits; `dataclasses.replace(config, codes=...)` changes them.
"""
