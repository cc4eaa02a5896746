"""Which images are trained without their context, for classifier-free guidance."""

from collections.abc import Sequence

import torch
from torch import Tensor

from schemas.keys import unit


def draw_without(keys: Sequence[str], image_rows_N: Tensor, salt: str, rate: float = 0.1) -> Tensor:
    """Draw the images that go without their context, bool [N], on the device of `image_rows_N`.

    Key, salt and the image's number in its sequence decide, so that two passes over one sample (a
    policy's and its reference's) agree where the salt does; a salt of the epoch draws anew in each.

    Args:
        keys: of the sequences.
        image_rows_N: the sequence of each image.
        salt: what else decides.
        rate: share of the images.
    """
    drawn: list[bool] = []
    rows = image_rows_N.tolist()
    for image, row in enumerate(rows):
        number = rows[:image].count(row)
        drawn.append(unit(f"{keys[row]} {number}", f"without context {salt}") < rate)
    return torch.tensor(drawn, dtype=torch.bool, device=image_rows_N.device)
