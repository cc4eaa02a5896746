"""Log-likelihoods of whole images, deterministic for given weights.

Shapes: N images, P pairs, so N = 2 P; K elements per position, L positions.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from model.data.batch import IGNORED, Batch
from model.vargpt.blocks import Block
from model.vargpt.loss import image_log_likelihood
from model.vargpt.vargpt import Vargpt


def image_log_probs(model: Vargpt, batch: Batch) -> Tensor:
    """Return log p(image | prompt) of each image, float64 [N], in nats: a sum over L x K elements.

    Nothing is random: labels are the batch's, no context and no branch is dropped. Text has no
    labels, so no text logits are computed.
    """
    still(model)
    silent = replace(batch, labels_BS=torch.full_like(batch.labels_BS, IGNORED))
    return image_log_likelihood(model(silent), batch, model.config.codes)


def still(model: nn.Module) -> None:
    """Turn off dropout and dropped branches until the next `train()`.

    They stay off after the forward pass, because checkpointing repeats it in the backward pass.
    """
    for module in model.modules():
        if isinstance(module, Block | nn.Dropout):
            module.training = False


def check_pairs(batch: Batch) -> int:
    """Return P, the number of pairs of a batch.

    Raises:
        ValueError: it does not hold chosen images, then the rejected images of the same keys.
    """
    pairs, odd = divmod(len(batch.keys), 2)
    chosen, rejected = batch.keys[:pairs], batch.keys[pairs:]
    if odd or not pairs or chosen != rejected or len(batch.image_rows_N) != 2 * pairs:
        raise ValueError(
            "expected a batch of pairs, chosen images and then the rejected ones of the same keys; "
            f"got {len(batch.image_rows_N)} images and {len(batch.keys)} keys: {batch.keys[:4]}..."
        )
    return pairs
