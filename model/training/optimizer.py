"""AdamW, its learning rate at each step, and its state by weight name."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from model.training.recipe import Recipe

MOMENTS = ("exp_avg", "exp_avg_sq")


def make_optimizer(parameters: Iterable[nn.Parameter], recipe: Recipe) -> torch.optim.AdamW:
    """Make the optimizer of a recipe; its learning rate is set at each step."""
    return torch.optim.AdamW(
        parameters, lr=recipe.lr, betas=recipe.betas, weight_decay=recipe.weight_decay
    )


def lr_at(recipe: Recipe, step: int) -> float:
    """Return the learning rate of a step: linear warm-up, then a cosine down to 0.

    As `get_cosine_schedule_with_warmup` of `transformers`, which the published code uses, but the
    first step has a rate above 0.
    """
    warmup = math.ceil(recipe.warmup_ratio * recipe.steps)
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    if recipe.schedule == "constant":
        return recipe.lr
    done = (step - warmup) / max(1, recipe.steps - warmup)
    return recipe.lr * (1 + math.cos(math.pi * done)) / 2


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, named: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    """Return both moments of every trained weight by name; zeros before the first step."""
    found: dict[str, Tensor] = {}
    for name, parameter in named.items():
        state: dict[str, Any] = optimizer.state[parameter]
        for moment in MOMENTS:
            if moment not in state:
                state[moment] = torch.zeros_like(parameter)
            found[f"{moment}.{name}"] = state[moment]
    return found


def set_steps(
    optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], steps: int
) -> None:
    """Set the number of steps done in the optimizer's state."""
    for parameter in parameters:
        optimizer.state[parameter]["step"] = torch.tensor(float(steps))
