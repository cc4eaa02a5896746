from dataclasses import replace

import pytest
import torch

from model.tokenizers.protocol import count_codes, scale_slices
from model.vargpt.config import PRESETS, released
from model.vargpt.vargpt import Output

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
CHOICES = [
    {},
    {"within_scale": "all"},
    {"projector_norm": False, "image_positions": "plain"},
    {"conditioning": "constant"},
    {"pad_multiple": 16},
]


def logits_of(model, batch, without=None) -> Output:
    with torch.inference_mode():
        return model(batch, without)


def test_every_code_and_every_text_target_has_logits(tokenizer, make_model, make_batch) -> None:
    model = make_model(tokenizer)
    batch = make_batch(tokenizer, model.config, after=(3, 0))
    output = logits_of(model, batch)
    assert output.image_logits_NLU.shape == (2, 14, model.config.codes.logits)
    # Start mark, end mark, three tokens; start mark, end mark.
    assert output.text_rows_T.tolist() == [0] * 5 + [1] * 2
    assert output.text_targets_T.tolist() == batch.labels_BS[batch.labels_BS != -100].tolist()
    assert output.text_logits_TV.shape == (7, model.config.backbone.vocab)


@pytest.mark.parametrize("choices", CHOICES)
def test_a_scale_depends_on_the_scales_before_it_alone(
    bsq, make_model, make_batch, choices
) -> None:
    model = make_model(bsq, **choices)
    batch = make_batch(bsq, model.config)
    before = logits_of(model, batch).image_logits_NLU
    for scale, part in enumerate(scale_slices(batch.schedule)[1:], start=1):
        inputs = batch.inputs_NLD.clone()
        inputs[:, part.start - 1 : part.stop - 1] += 1
        after = logits_of(model, replace(batch, inputs_NLD=inputs)).image_logits_NLU
        torch.testing.assert_close(after[:, : part.start], before[:, : part.start], **CLOSE)
        moved = (after - before)[:, part.start :].abs().amax(dim=2)
        assert (moved > 1e-4).all(), f"scale {scale} and those after it see its inputs"


@pytest.mark.parametrize("choices", CHOICES)
def test_text_after_an_image_changes_nothing_before(bsq, make_model, make_batch, choices) -> None:
    model = make_model(bsq, **choices)
    batch = make_batch(bsq, model.config, after=(3, 3))
    ids = batch.input_ids_BS.clone()
    ends = batch.image_starts_N + model.config.pads(count_codes(batch.schedule))
    for row, end in enumerate(ends.tolist()):
        ids[row, end + 1 : end + 4] += 1
    other = replace(batch, input_ids_BS=ids)
    before, after = logits_of(model, batch), logits_of(model, other)
    torch.testing.assert_close(after.image_logits_NLU, before.image_logits_NLU, **CLOSE)
    # Start mark, end mark and the first token after it are predicted from what is before.
    torch.testing.assert_close(after.text_logits_TV[:3], before.text_logits_TV[:3], **CLOSE)


@pytest.mark.parametrize("choices", CHOICES)
def test_the_prompt_changes_every_code(bsq, make_model, make_batch, choices) -> None:
    model = make_model(bsq, **choices)
    batch = make_batch(bsq, model.config)
    ids = batch.input_ids_BS.clone()
    ids[:, 1] = (ids[:, 1] + 1) % 100
    moved = (
        logits_of(model, replace(batch, input_ids_BS=ids)).image_logits_NLU
        - logits_of(model, batch).image_logits_NLU
    )
    assert (moved.abs().amax(dim=2) > 1e-5).all()


@pytest.mark.parametrize("without", [None, [True, False, True], [False, True, False]])
@pytest.mark.parametrize("choices", CHOICES)
def test_neighbours_and_padding_change_nothing(
    bsq, make_model, make_batch, choices, without
) -> None:
    model = make_model(bsq, **choices)
    batch = make_batch(bsq, model.config, before=(4, 13, 7), after=(2, 0, 5))
    dropped = None if without is None else torch.tensor(without)
    together = logits_of(model, batch, dropped)
    for row in range(3):
        length = int(batch.attention_mask_BS[row].sum())
        alone = replace(
            batch,
            keys=batch.keys[row : row + 1],
            input_ids_BS=batch.input_ids_BS[row : row + 1, :length],
            labels_BS=batch.labels_BS[row : row + 1, :length],
            attention_mask_BS=batch.attention_mask_BS[row : row + 1, :length],
            image_rows_N=torch.zeros(1, dtype=torch.long),
            image_starts_N=batch.image_starts_N[row : row + 1],
            inputs_NLD=batch.inputs_NLD[row : row + 1],
            targets_NLK=batch.targets_NLK[row : row + 1],
        )
        output = logits_of(model, alone, None if dropped is None else dropped[row : row + 1])
        expected = together.image_logits_NLU[row : row + 1]
        torch.testing.assert_close(output.image_logits_NLU, expected, **CLOSE)
        expected = together.text_logits_TV[together.text_rows_T == row]
        torch.testing.assert_close(output.text_logits_TV, expected, **CLOSE)


@pytest.mark.parametrize("choices", [{}, {"within_scale": "all"}])
def test_an_image_without_its_context_does_not_depend_on_the_prompt(
    bsq, make_model, make_batch, choices
) -> None:
    model = make_model(bsq, **choices)
    short = make_batch(bsq, model.config, before=(4, 4), after=(1, 1))
    long = make_batch(bsq, model.config, before=(9, 6), after=(1, 1))
    without = torch.tensor([True, True])
    one, other = (logits_of(model, batch, without) for batch in (short, long))
    torch.testing.assert_close(one.image_logits_NLU, other.image_logits_NLU, **CLOSE)
    ends = [output.text_logits_TV[2::3] for output in (one, other)]
    assert (ends[0] - ends[1]).abs().max() > 1e-5, "text after it still sees the prompt"


def test_an_image_without_its_context_still_depends_on_its_own_scales(
    bsq, make_model, make_batch
) -> None:
    model = make_model(bsq)
    batch = make_batch(bsq, model.config)
    without = torch.tensor([True, True])
    other = replace(batch, inputs_NLD=batch.inputs_NLD + 1)
    moved = (
        logits_of(model, other, without).image_logits_NLU
        - logits_of(model, batch, without).image_logits_NLU
    )
    assert (moved[:, 1:].abs().amax(dim=2) > 1e-4).all()
    torch.testing.assert_close(moved[:, 0], torch.zeros_like(moved[:, 0]), **CLOSE)


def test_two_images_of_a_sequence_each_see_what_stands_before(bsq, make_model, make_batch) -> None:
    model = make_model(bsq)
    one = make_batch(bsq, model.config, before=(5,))
    twice = replace(
        one,
        input_ids_BS=one.input_ids_BS.repeat(1, 2),
        labels_BS=one.labels_BS.repeat(1, 2),
        attention_mask_BS=one.attention_mask_BS.repeat(1, 2),
        image_rows_N=torch.tensor([0, 0]),
        image_starts_N=torch.tensor([6, 6 + one.input_ids_BS.shape[1]]),
        inputs_NLD=one.inputs_NLD.repeat(2, 1, 1),
        targets_NLK=one.targets_NLK.repeat(2, 1, 1),
    )
    logits = logits_of(model, twice).image_logits_NLU
    torch.testing.assert_close(logits[:1], logits_of(model, one).image_logits_NLU, **CLOSE)
    assert (logits[1] - logits[0]).abs().max() > 1e-3


@pytest.mark.parametrize("choices", CHOICES)
def test_a_batch_without_generated_images_has_text_alone(
    bsq, make_model, make_batch, choices
) -> None:
    model = make_model(bsq, **choices)
    batch = make_batch(bsq, model.config)
    ids = torch.arange(1, 13).view(2, 6)
    text = replace(
        batch,
        input_ids_BS=ids,
        labels_BS=ids,
        attention_mask_BS=torch.ones_like(ids, dtype=torch.bool),
        image_rows_N=batch.image_rows_N[:0],
        image_starts_N=batch.image_starts_N[:0],
        inputs_NLD=batch.inputs_NLD[:0, :0],
        targets_NLK=batch.targets_NLK[:0, :0],
        schedule=(),
    )
    output = logits_of(model, text)
    assert output.image_logits_NLU.shape == (0, 0, 64)
    assert output.text_targets_T.tolist() == ids[:, 1:].flatten().tolist()
    logits = model.backbone.qwen(input_ids=ids).logits[:, :-1].flatten(0, 1)
    torch.testing.assert_close(output.text_logits_TV, logits, **CLOSE)


def test_the_released_choices_take_640_pads_for_an_image_of_256_px() -> None:
    config = released(PRESETS["v1_1"])
    assert (config.pads(521), config.pads(2521), PRESETS["v1_1"].pads(521)) == (640, 2560, 521)


def test_gradients_are_the_same_when_blocks_are_recomputed(bsq, make_model, make_batch) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = make_model(bsq).train()
        model.decoder.checkpointing = checkpointing
        batch = make_batch(bsq, model.config)
        model(batch).image_logits_NLU.square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.decoder.blocks.parameters()]))
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("how", ["weights", "autocast"])
def test_bfloat16_weights_and_autocast_come_near_float32(bsq, make_model, make_batch, how) -> None:
    model = make_model(bsq)
    batch = make_batch(bsq, model.config)
    exact = logits_of(model, batch)
    if how == "weights":
        model = model.to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        near = logits_of(model, batch, torch.tensor([False, True]))
    for one, other in (
        (near.image_logits_NLU[0], exact.image_logits_NLU[0]),
        (near.text_logits_TV[:1], exact.text_logits_TV[:1]),
    ):
        assert one.dtype == torch.bfloat16
        assert (one.float() - other).abs().mean() < 0.05 * other.abs().mean() + 0.01
