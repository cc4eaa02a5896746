"""Heads that predict how people rate an image, in the published layouts.

christophschuhmann/improved-aesthetic-predictor: five linear layers with dropout between them and
no other non-linearity, `layers.0` to `layers.7`. LAION-AI/aesthetic-predictor: one linear layer,
`weight` and `bias`. Both read normalised embeddings of CLIP ViT-L/14.
"""

import re
from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor, nn

from schemas.store.checkpoint import CheckpointError, read_checkpoint


def read_head(url: str) -> nn.Sequential:
    """Read a head, in evaluation mode; it maps [B, C] embeddings to [B, 1] ratings.

    Args:
        url: `.pth`, `.pt` or `.safetensors`, a path or any fsspec URL; no pickle is run.

    Raises:
        CheckpointError: the head cannot be read, or has an unknown layout.
    """
    source = read_checkpoint(url)
    layers = [_linear(source.tensors, name, source.name) for name in _names(source.tensors)]
    sizes = [(layer.in_features, layer.out_features) for layer in layers]
    joined = all(before[1] == after[0] for before, after in pairwise(sizes))
    if not layers or not joined or sizes[-1][1] != 1:
        raise CheckpointError(
            f"{source.name}: expected linear layers that end in one rating, got sizes {sizes} from "
            f"{sorted(source.tensors)[:4]}"
        )
    return nn.Sequential(*layers).eval().requires_grad_(False)


def _names(tensors: Mapping[str, Tensor]) -> list[str]:
    if tensors.keys() == {"weight", "bias"}:
        return [""]
    numbers = {
        int(match[1])
        for key in tensors
        if (match := re.fullmatch(r"layers\.(\d+)\.(weight|bias)", key))
    }
    return [f"layers.{number}." for number in sorted(numbers)]


def _linear(tensors: Mapping[str, Tensor], name: str, file: str) -> nn.Linear:
    weight, bias = tensors.get(f"{name}weight"), tensors.get(f"{name}bias")
    if weight is None or bias is None or weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise CheckpointError(
            f"{file}: expected {name}weight and {name}bias of a linear layer, got shapes "
            f"{None if weight is None else list(weight.shape)} and "
            f"{None if bias is None else list(bias.shape)}"
        )
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight.float(), "bias": bias.float()})
    return layer
