"""Weights by name: those of one network of an objective, and those of a file."""

from collections.abc import Mapping

from torch import Tensor


def weights_of(name: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a network among those of its objective.

    >>> import torch
    >>> weights_of("clip", {"clip.scale": torch.ones(1), "to_teacher.bias": torch.ones(1)})
    {'scale': tensor([1.])}
    """
    prefix = f"{name}."
    return {key.removeprefix(prefix): x for key, x in weights.items() if key.startswith(prefix)}


def halves(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights in float16, without the layout in memory that training used."""
    return {
        key: (x.half() if x.is_floating_point() else x).contiguous() for key, x in weights.items()
    }
