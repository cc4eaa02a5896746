"""The choice of images that are trained without context, for classifier-free guidance."""

from collections.abc import Sequence

import torch
from torch import Tensor

from schemas.keys import unit


def draw_without(keys: Sequence[str], image_rows_N: Tensor, salt: str, rate: float = 0.1) -> Tensor:
    """Draw the images without context, bool [N], on the device of `image_rows_N`.

    The result depends on key, salt and the image's number in its sequence. So two passes over a
    sample (policy and reference) agree if the salt is the same, and a salt per epoch draws again.

    Args:
        keys: of the sequences.
        image_rows_N: the sequence of each image.
        salt: changes the draw.
        rate: share of the images.
    """
    drawn: list[bool] = []
    rows = image_rows_N.tolist()
    for image, row in enumerate(rows):
        number = rows[:image].count(row)
        drawn.append(unit(f"{keys[row]} {number}", f"without context {salt}") < rate)
    return torch.tensor(drawn, dtype=torch.bool, device=image_rows_N.device)
