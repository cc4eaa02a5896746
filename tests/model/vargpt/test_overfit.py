"""A proof that all parts work together: a tiny model learns eight samples by heart."""

from dataclasses import replace

import pytest
import torch

from model.data.batch import Batch
from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.vargpt.generate import Prompt, generate
from model.vargpt.guidance import draw_without
from model.vargpt.loss import LossConfig, losses
from model.vargpt.sampling import GREEDY
from model.vargpt.vargpt import Vargpt

PROMPT = 3  # tokens
BEFORE = (4, 5, 6, 7, 8, 9, 10, 11)


def train(model: Vargpt, batch: Batch, steps: int) -> tuple[float, float]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    model.train()
    for step in range(steps):
        without = draw_without(batch.keys, batch.image_rows_N, f"step {step}")
        found = losses(model(batch, without), batch, model.config.codes, LossConfig())
        optimizer.zero_grad()
        found.total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        found = losses(model(batch), batch, model.config.codes, LossConfig())
    return float(found.text), float(found.image)


@pytest.mark.slow
def test_eight_samples_are_learned_and_written_again_to_the_last_token_and_code(
    tokenizer: NetworkTokenizer, make_model, make_batch, targets_of
) -> None:
    model = make_model(tokenizer)
    batch = make_batch(tokenizer, model.config, before=BEFORE)
    # Of what stands before an image, three tokens are the prompt and the rest is answered too.
    answers_BS = batch.attention_mask_BS.clone()
    answers_BS[:, :PROMPT] = False
    learnt_BS = answers_BS & (batch.input_ids_BS != model.config.marks.image_pad)
    batch = replace(batch, labels_BS=batch.input_ids_BS.masked_fill(~learnt_BS, -100))
    text, image = train(model, batch, 400)
    assert text < 0.01
    assert image < 0.01
    prompts = [
        Prompt(ids=ids[:PROMPT].tolist(), keys=[key])
        for ids, key in zip(batch.input_ids_BS, batch.keys, strict=True)
    ]
    answers = generate(model, tokenizer, prompts, GREEDY)
    for answer, ids, answered in zip(answers, batch.input_ids_BS, answers_BS, strict=True):
        assert answer.ids == ids[answered].tolist()
    written = torch.cat([targets_of(tokenizer, answer.images[0]) for answer in answers])
    assert torch.equal(written, batch.targets_NLK)
