"""How well codes are foretold, scale by scale and bit by bit.

Shapes: N images, L positions, K elements of a position, U logits a position.
"""

from torch import Tensor

from model.data.batch import Batch
from model.tokenizers.protocol import scale_slices
from model.vargpt.codes import CodeHead


def by_scale(
    image_logits_NLU: Tensor, batch: Batch, codes: CodeHead, images: int
) -> dict[str, Tensor]:
    """Return losses in nats an element and shares foretold, as parts of a mean over images.

    Args:
        image_logits_NLU: what the model foretold.
        batch: with the targets.
        codes: what a position is.
        images: that the means are over; more than N where the batch is part of a step.
    """
    if not len(image_logits_NLU):
        return {}
    surprise_NLK = codes.surprise(image_logits_NLU, batch.targets_NLK)
    right_NLK = (codes.split(image_logits_NLU).argmax(dim=-1) == batch.targets_NLK).float()
    found: dict[str, Tensor] = {}
    for number, part in enumerate(scale_slices(batch.schedule), start=1):
        found[f"loss/scale {number:02}"] = _part(surprise_NLK[:, part], images)
        found[f"foretold/scale {number:02}"] = _part(right_NLK[:, part], images)
    name = "bit" if codes.choices == 2 else "element"
    for number in range(right_NLK.shape[2]):
        found[f"loss by {name}/{number:02}"] = _part(surprise_NLK[:, :, number], images)
        found[f"foretold by {name}/{number:02}"] = _part(right_NLK[:, :, number], images)
    return found


def _part(values_N: Tensor, images: int) -> Tensor:
    return values_N.flatten(1).mean(dim=1).sum() / images
