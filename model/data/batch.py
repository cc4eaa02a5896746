"""What a training step is given.

Shapes: B sequences, S their padded length, N generated images among them, L positions of one image,
l those of its first scale, D channels of the codes, K targets a position.
"""

from dataclasses import dataclass
from typing import Final

from torch import Tensor

from model.tokenizers.protocol import Schedule

IGNORED: Final = -100  # label of a position where no text loss is taken


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a model is trained on in one step; N generated images among B sequences, in order.

    The inputs of an image's first scale are not in it: nothing precedes that scale.
    """

    keys: tuple[str, ...]  # B
    input_ids_BS: Tensor  # int64; right-padded; <|image_gen_pad|> x L between start and end marks
    labels_BS: Tensor  # int64; -100 where no text loss is taken (prompt, padding, marks' pads)
    attention_mask_BS: Tensor  # bool; False on padding
    image_rows_N: Tensor  # int64; the sequence each generated image stands in
    image_starts_N: Tensor  # int64; position of its first <|image_gen_pad|>
    inputs_NLD: Tensor  # float32 next-scale inputs, L - l positions, width of the codes
    targets_NLK: Tensor  # int64; bits [N, L, d] of BSQ, or indices [N, L, 1] of VAR
    schedule: Schedule  # scales (h, w) from small to large, as the model sees them; one a batch
    pixel_values: Tensor | None = None  # of understood images, as Qwen2-VL's processor gives them
    image_grid_thw: Tensor | None = None  # int64 [images, 3], patches in time, height and width
