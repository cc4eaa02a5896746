"""DPO: its loss against a plain one, and that a model against itself is no noise."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from model.data.batch import Batch
from model.data.loader import Loader
from model.training.dpo import Dpo, DpoConfig, dpo_loss
from model.training.log_probs import check_pairs, image_log_probs
from model.training.objective import Step
from model.training.reference import ModelReference
from model.vargpt.vargpt import Vargpt

MakePolicy = Callable[..., Vargpt]


def plain_loss(policy, reference, beta: float, smoothing: float) -> torch.Tensor:
    """Equation 7 of the paper, pair by pair, smoothed as cDPO does."""
    half = len(policy) // 2
    losses = []
    for n in range(half):
        ratio = (policy[n] - reference[n]) - (policy[half + n] - reference[half + n])
        right = torch.log(1 / (1 + torch.exp(-beta * ratio)))
        wrong = torch.log(1 / (1 + torch.exp(beta * ratio)))
        losses.append(-(1 - smoothing) * right - smoothing * wrong)
    return torch.stack(losses)


@pytest.mark.parametrize(("beta", "smoothing"), [(0.1, 0.0), (0.5, 0.0), (0.1, 0.2)])
def test_loss_and_gradient_are_those_of_a_plain_implementation(beta, smoothing) -> None:
    generator = torch.Generator().manual_seed(1)
    policy, reference = (torch.randn(8, generator=generator).double() * 5 for _ in range(2))
    policy.requires_grad_(True)
    found = dpo_loss(policy, reference, DpoConfig(beta=beta, label_smoothing=smoothing)).loss_P
    expected = plain_loss(policy, reference, beta, smoothing)
    torch.testing.assert_close(found, expected)
    grads = [
        torch.autograd.grad(each.sum(), policy, retain_graph=True) for each in (found, expected)
    ]
    torch.testing.assert_close(*grads)


def plain_log_probs(model: Vargpt, batch: Batch) -> torch.Tensor:
    """Sum of the logs of the label's probability over all bits, by softmax and indexing."""
    logits = model.eval()(batch).image_logits_NLU
    found = []
    for image, targets in zip(logits, batch.targets_NLK, strict=True):
        bits = image.view(*targets.shape, 2).double().softmax(dim=-1)
        picked = torch.where(targets.bool(), bits[..., 1], bits[..., 0])
        found.append(picked.log().sum())
    return torch.stack(found)


def test_gradients_of_all_weights_are_those_of_a_plain_implementation(
    make_policy: MakePolicy, two_pairs: Batch
) -> None:
    policy, other = make_policy(1), make_policy(2)
    losses = Dpo(ModelReference(other), DpoConfig(beta=0.3))(policy, two_pairs)
    losses.total.backward()
    plain = make_policy(1)
    with torch.no_grad():
        reference = plain_log_probs(make_policy(2), two_pairs)
    expected = plain_loss(plain_log_probs(plain, two_pairs), reference, 0.3, 0.0).mean()
    expected.backward()
    torch.testing.assert_close(losses.total, expected, rtol=1e-5, atol=1e-6)
    with_grad = 0
    for found, wanted in zip(policy.parameters(), plain.parameters(), strict=True):
        if wanted.grad is not None:
            assert found.grad is not None
            torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-3, atol=1e-5)
            with_grad += 1
    assert with_grad > 20


def test_a_model_against_itself_has_margin_0_and_loss_log_2(
    make_policy: MakePolicy, two_pairs: Batch
) -> None:
    policy = make_policy()
    assert policy.training
    losses = Dpo(ModelReference(copy.deepcopy(policy)))(policy, two_pairs)
    assert losses.scalars["margin"] == 0.0
    assert losses.scalars["reward_chosen"] == losses.scalars["reward_rejected"] == 0.0
    assert losses.total.item() == math.log(2)


def test_nothing_is_drawn_on_the_way(make_policy: MakePolicy, two_pairs: Batch) -> None:
    policy = make_policy()
    torch.testing.assert_close(
        image_log_probs(policy, two_pairs), image_log_probs(policy, two_pairs), rtol=0, atol=0
    )
    noisy = [policy.train()(two_pairs).image_logits_NLU for _ in range(2)]
    assert not torch.equal(*noisy)  # what it would be with dropped branches


def test_steps_raise_the_margin_on_their_own_pairs(
    make_policy: MakePolicy, two_pairs: Batch
) -> None:
    policy = make_policy()
    dpo = Dpo(ModelReference(copy.deepcopy(policy)))
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3, weight_decay=0.0)
    margins = []
    for _ in range(4):
        losses = dpo(policy, two_pairs)
        margins.append(losses.scalars["margin"].item())
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
    assert margins == sorted(margins)
    assert margins[-1] > margins[0] == 0.0
    assert losses.scalars["accuracy"] == 1.0


def test_parts_of_micro_batches_add_up_to_the_whole(
    make_policy: MakePolicy, load_pairs: Callable[..., Loader]
) -> None:
    dpo = Dpo(ModelReference(make_policy(2)), DpoConfig(sft=0.5))
    policy = make_policy(1)
    (whole,) = load_pairs(batch=5)
    parts = list(load_pairs(batch=2))
    assert sum(dpo.counts(part)["pairs"] for part in parts) == dpo.counts(whole)["pairs"] == 5
    found = [dpo(policy, part, Step(number=0, counts={"pairs": 5})) for part in parts]
    expected = dpo(policy, whole)
    torch.testing.assert_close(sum(each.total for each in found), expected.total, rtol=1e-4, atol=0)
    for name, value in expected.scalars.items():
        summed = sum(each.scalars[name] for each in found)
        torch.testing.assert_close(summed, value, rtol=1e-3, atol=1e-5)


def test_the_chosen_image_s_own_loss_is_added_where_it_is_asked_for(
    make_policy: MakePolicy, two_pairs: Batch
) -> None:
    policy = make_policy()
    reference = ModelReference(copy.deepcopy(policy))
    losses = Dpo(reference, DpoConfig(sft=2.0))(policy, two_pairs)
    output = policy.eval()(two_pairs)
    logits = output.image_logits_NLU[:2].view(2, -1, 8, 2)
    surprise = F.cross_entropy(logits.flatten(0, 2), two_pairs.targets_NLK[:2].flatten())
    torch.testing.assert_close(losses.total.float(), math.log(2) + 2.0 * surprise)


def test_a_batch_that_is_not_of_pairs_is_refused(make_policy: MakePolicy, two_pairs: Batch) -> None:
    keys = ("a" * 32, *two_pairs.keys[1:])
    with pytest.raises(ValueError, match="expected a batch of pairs"):
        check_pairs(replace(two_pairs, keys=keys))


@pytest.mark.parametrize("wrong", [{"beta": 0.0}, {"label_smoothing": 0.5}, {"sft": -1.0}])
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected beta > 0"):
        DpoConfig(**wrong)
