"""The input of a training step.

Shapes: B sequences, S padded length of a sequence, N generated images in the batch, L positions of
an image, l positions of its first scale, D channels of the codes, K targets per position.
"""

from dataclasses import dataclass
from typing import Final

from torch import Tensor

from model.tokenizers.protocol import Schedule

IGNORED: Final = -100  # label of a position where no text loss is taken


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The sequences of one training step: B sequences that hold N generated images, in order.

    It holds no inputs for the first scale of an image, because nothing precedes that scale.
    """

    keys: tuple[str, ...]  # B
    input_ids_BS: Tensor  # int64; right-padded; <|image_gen_pad|> x L between start and end marks
    labels_BS: Tensor  # int64; -100 where no text loss is taken (prompt, padding, marks' pads)
    attention_mask_BS: Tensor  # bool; False on padding
    image_rows_N: Tensor  # int64; the sequence that holds each generated image
    image_starts_N: Tensor  # int64; position of the image's first <|image_gen_pad|>
    inputs_NLD: Tensor  # float32 next-scale inputs, L - l positions, width of the codes
    targets_NLK: Tensor  # int64; bits [N, L, d] of BSQ, or indices [N, L, 1] of VAR
    schedule: Schedule  # scales (h, w) the model sees, small to large; the same for all images
    pixel_values: Tensor | None = None  # of input images, as Qwen2-VL's processor returns them
    image_grid_thw: Tensor | None = None  # int64 [images, 3], patches in time, height and width
