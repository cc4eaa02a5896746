import pytest
import torch
from transformers import get_cosine_schedule_with_warmup

from model.training.optimizer import lr_at
from model.training.recipe import stage_recipe


@pytest.mark.parametrize(("steps", "warmup"), [(100, 10), (25, 3), (1, 1)])
def test_the_rate_is_that_of_transformers_after_the_warm_up(steps: int, warmup: int) -> None:
    recipe = stage_recipe("pretrain", [f"steps={steps}"])
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=recipe.lr)
    theirs = get_cosine_schedule_with_warmup(optimizer, warmup, steps)
    rates = []
    for _ in range(steps):
        rates.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    ours = [lr_at(recipe, step) for step in range(steps)]
    assert ours[warmup:] == pytest.approx(rates[warmup:])
    assert ours[:warmup] == pytest.approx([*rates[1:warmup], recipe.lr][:warmup])


def test_a_constant_rate_stays_after_the_warm_up() -> None:
    recipe = stage_recipe("pretrain", ["steps=20", "schedule=constant"])
    assert [lr_at(recipe, step) / recipe.lr for step in (0, 1, 2, 19)] == [0.5, 1, 1, 1]
