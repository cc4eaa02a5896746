import math
from dataclasses import replace

import pytest
import torch

from model.tokenizers.protocol import count_codes
from model.tokenizers.schedules import bsq_schedule
from model.vargpt.loss import LossConfig, image_log_likelihood, losses, position_weights
from model.vargpt.vargpt import Output


def plain_image_loss(logits, targets, schedule, choices: int) -> torch.Tensor:
    """Add up the image loss code by code: pairs of logits side by side, scales by their side."""
    scale_of = [scale for scale, (h, w) in enumerate(schedule) for _ in range(h * w)]
    last = math.prod(schedule[-1])
    weights = [math.sqrt(last / math.prod(schedule[scale])) for scale in scale_of]
    total = torch.zeros(())
    for image in range(len(targets)):
        for position, weight in enumerate(weights):
            of_elements = []
            for element, target in enumerate(targets[image, position].tolist()):
                start = element * choices
                scores = logits[image, position, start : start + choices]
                of_elements.append(scores.exp().sum().log() - scores[target])
            total = total + torch.stack(of_elements).mean() * weight / sum(weights)
    return total / len(targets)


def drawn(batch, codes, text: int = 5, vocab: int = 11) -> Output:
    generator = torch.Generator().manual_seed(0)
    count = count_codes(batch.schedule)
    return Output(
        image_logits_NLU=torch.randn(
            len(batch.targets_NLK), count, codes.logits, generator=generator, requires_grad=True
        ),
        text_logits_TV=torch.randn(text, vocab, generator=generator, requires_grad=True),
        text_targets_T=torch.arange(text),
        text_rows_T=torch.zeros(text, dtype=torch.long),
    )


def test_losses_and_gradients_are_those_of_plain_sums(tokenizer, make_model, make_batch) -> None:
    config = make_model(tokenizer).config
    batch = make_batch(tokenizer, config)
    output = drawn(batch, config.codes)
    image = plain_image_loss(
        output.image_logits_NLU, batch.targets_NLK, batch.schedule, config.codes.choices
    )
    scores = output.text_logits_TV
    text = sum(row.exp().sum().log() - row[at] for at, row in enumerate(scores)) / len(scores)
    found = losses(output, batch, config.codes, LossConfig())
    torch.testing.assert_close((found.image, found.text), (image, text))
    torch.testing.assert_close(found.total, text + 3 * image)
    leaves = output.image_logits_NLU, output.text_logits_TV
    torch.testing.assert_close(
        torch.autograd.grad(found.total, leaves), torch.autograd.grad(text + 3 * image, leaves)
    )


def test_uniform_weights_are_the_plain_mean(bsq, make_model, make_batch) -> None:
    config = make_model(bsq).config
    batch = make_batch(bsq, config)
    output = drawn(batch, config.codes)
    found = losses(output, batch, config.codes, LossConfig(scales="uniform", image=1.0))
    surprise = config.codes.surprise(output.image_logits_NLU, batch.targets_NLK)
    torch.testing.assert_close(found.image, surprise.mean())
    torch.testing.assert_close(found.total, found.text + found.image)


def test_a_scale_of_n_by_n_counts_as_n_in_all() -> None:
    schedule = bsq_schedule(1.0, 256)
    weights = position_weights(schedule, "infinity")
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0))
    per_scale = [part.sum() for part in weights.split([h * w for h, w in schedule])]
    sides = torch.tensor([float(h) for h, _ in schedule])
    torch.testing.assert_close(torch.stack(per_scale), sides / sides.sum())


def test_log_likelihoods_are_sums_over_all_elements(tokenizer, make_model, make_batch) -> None:
    config = make_model(tokenizer).config
    batch = make_batch(tokenizer, config)
    output = drawn(batch, config.codes)
    even = replace(output, image_logits_NLU=torch.zeros_like(output.image_logits_NLU))
    expected = -14 * config.codes.elements * math.log(config.codes.choices)
    found = image_log_likelihood(even, batch, config.codes)
    torch.testing.assert_close(found.float(), torch.full((2,), expected))
    split = config.codes.split(output.image_logits_NLU).log_softmax(dim=-1)
    picked = split.gather(-1, batch.targets_NLK.unsqueeze(-1)).sum(dim=(1, 2, 3))
    torch.testing.assert_close(image_log_likelihood(output, batch, config.codes).float(), picked)


def test_what_a_batch_does_not_have_costs_nothing(bsq, make_model, make_batch) -> None:
    config = make_model(bsq).config
    batch = make_batch(bsq, config)
    output = drawn(batch, config.codes, text=0)
    found = losses(output, batch, config.codes, LossConfig())
    assert found.text == 0
    assert found.image > 0
    none = replace(batch, targets_NLK=batch.targets_NLK[:0, :0], schedule=())
    empty = replace(output, image_logits_NLU=output.image_logits_NLU[:0, :0])
    assert losses(empty, none, config.codes, LossConfig()).total == 0


@pytest.mark.parametrize("without", [[False, False], [True, False], [True, True]])
def test_every_weight_that_is_used_gets_a_gradient(bsq, make_model, make_batch, without) -> None:
    model = make_model(bsq)
    batch = make_batch(bsq, model.config)
    output = model(batch, torch.tensor(without))
    losses(output, batch, model.config.codes, LossConfig()).total.backward()
    idle = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert {name for name in idle if ".visual." not in name} == (
        set() if any(without) else {"decoder.conditioning.unconditional"}
    )
