from dataclasses import replace

import pytest
import torch

from model.tokenizers.protocol import Codes, scale_slices
from model.vargpt.codes import bits, indices
from model.vargpt.config import Marks, released
from model.vargpt.generate import Prompt, generate
from model.vargpt.image_decoding import ImageDecoding
from model.vargpt.sampling import GREEDY, Sampling, guide
from model.vargpt.stream import Stream
from model.vargpt.vargpt import Vargpt

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
CHOICES = [
    {},
    {"within_scale": "all"},
    {"projector_norm": False, "image_positions": "plain"},
    {"conditioning": "constant"},
    {"pad_multiple": 16},
]


def logits_by_cache(model: Vargpt, batch, guidance: float = 1.0) -> tuple[torch.Tensor, Stream]:
    """Feed a batch's prompts, then its images scale by scale, as generation does."""
    starts = batch.image_starts_N
    longest = int(starts.max())
    used = torch.arange(longest) < starts[:, None]
    ids = batch.input_ids_BS[:, :longest]
    stream = Stream(model.backbone, torch.zeros_like(starts))
    stream.feed(model.backbone.embed(ids, None, None), used)
    drawing = torch.ones(len(starts), dtype=torch.bool)
    decoding = ImageDecoding(model, stream, drawing, batch.schedule, guidance)
    parts = scale_slices(batch.schedule)
    logits = [decoding.logits(None)]
    for part in parts[1:]:
        logits.append(decoding.logits(batch.inputs_NLD[:, part.start - 1 : part.stop - 1]))
    decoding.finish()
    return torch.cat(logits, dim=1), stream


@torch.inference_mode()
@pytest.mark.parametrize("choices", CHOICES)
def test_logits_through_the_caches_are_those_of_the_whole_pass(
    tokenizer, make_model, make_batch, choices
) -> None:
    model = make_model(tokenizer, **choices)
    batch = make_batch(tokenizer, model.config, before=(5, 11, 8))
    found, _ = logits_by_cache(model, batch)
    torch.testing.assert_close(found, model(batch).image_logits_NLU, **CLOSE)


@torch.inference_mode()
@pytest.mark.parametrize("choices", [{}, {"within_scale": "all"}, {"pad_multiple": 16}])
def test_guidance_leads_away_from_what_training_without_context_gives(
    bsq, make_model, make_batch, choices
) -> None:
    model = make_model(bsq, **choices)
    batch = make_batch(bsq, model.config, before=(5, 11))
    found, _ = logits_by_cache(model, batch, guidance=3.0)
    without = model(batch, torch.tensor([True, True])).image_logits_NLU
    expected = guide(model(batch).image_logits_NLU, without, 3.0)
    assert (expected - without).abs().max() > 1e-2
    torch.testing.assert_close(found, expected, **CLOSE)


@torch.inference_mode()
@pytest.mark.parametrize("choices", [{}, {"pad_multiple": 16}])
def test_text_after_an_image_is_that_of_the_whole_pass(
    bsq, make_model, make_batch, choices
) -> None:
    model = make_model(bsq, **choices)
    batch = make_batch(bsq, model.config, before=(5, 11), after=(3, 3))
    _, stream = logits_by_cache(model, batch)
    ends = (batch.input_ids_BS == model.config.marks.image_end).nonzero()[:, 1]
    after = batch.input_ids_BS.gather(1, ends[:, None] + torch.arange(4))
    hidden = stream.feed(model.backbone.embed(after, None, None), torch.ones_like(after).bool())
    logits = model.backbone.text_logits(hidden[:, :3]).flatten(0, 1)
    whole = model(batch)
    last = torch.cat([whole.text_logits_TV[whole.text_rows_T == row][-3:] for row in range(2)])
    torch.testing.assert_close(logits, last, **CLOSE)


def started(model: Vargpt, text: list[int], *keys: str) -> Prompt:
    """Return a prompt that ends where an image starts."""
    return Prompt(ids=[*text, model.config.marks.image_start], keys=keys)


PROMPTS = [[3, 14, 15], [9, 2, 6, 5, 35, 8], [9, 7, 93, 23]]
HOT = Sampling(guidance=2.0, temperature=1.0, top_k=0, top_p=0.9)


@pytest.mark.parametrize("sampling", [GREEDY, HOT])
def test_an_answer_depends_on_its_prompt_and_key_alone(tokenizer, make_model, sampling) -> None:
    model = make_model(tokenizer)
    together = generate(
        model,
        tokenizer,
        [started(model, text, f"{row} a", f"{row} b") for row, text in enumerate(PROMPTS)],
        sampling,
    )
    assert [answer.key for answer in together] == ["0 a", "0 b", "1 a", "1 b", "2 a", "2 b"]
    alone = [
        generate(model, tokenizer, [started(model, text, f"{row} {key}")], sampling)[0]
        for row, text in enumerate(PROMPTS)
        for key in "ab"
    ]
    for one, other in zip(together, alone, strict=True):
        assert (one.ids, one.ended) == (other.ids, True)
        assert (one.images[0].values_BL == other.images[0].values_BL).all()
    same = (together[0].images[0].values_BL == together[1].images[0].values_BL).all()
    assert same == (sampling is GREEDY), "keys decide what is drawn, and only that"


def test_an_image_takes_its_pads_and_an_end_mark_and_decodes(tokenizer, make_model) -> None:
    model = make_model(tokenizer)
    (answer,) = generate(model, tokenizer, [started(model, PROMPTS[0], "key")], HOT)
    marks = model.config.marks
    assert answer.ids == [marks.image_pad] * 14 + [marks.image_end]
    assert tokenizer.decode(answer.images[0]).shape == (1, 3, 48, 48)


class Scripted(torch.nn.Module):
    """A text head that says what a script has for the number of tokens so far."""

    def __init__(self, vocab: int, script: list[int]) -> None:
        super().__init__()
        self.vocab, self.script, self.said = vocab, script, 0

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(*hidden.shape[:-1], self.vocab)
        logits[..., self.script[self.said]] = 1
        self.said += 1
        return logits


def test_an_answer_may_hold_text_and_several_images(bsq, make_model) -> None:
    model = make_model(bsq)
    start, end, pad, stop = (
        model.config.marks.image_start,
        model.config.marks.image_end,
        model.config.marks.image_pad,
        model.config.marks.answer_end,
    )
    image = [*[pad] * 14, end]
    model.backbone.qwen.lm_head = Scripted(128, [7, start, 8, 9, start, 10, stop])
    (answer,) = generate(model, bsq, [Prompt(ids=PROMPTS[0], keys=["key"])], GREEDY, max_images=9)
    assert answer.ids == [7, start, *image, 8, 9, start, *image, 10, stop]
    assert (len(answer.images), answer.ended) == (2, True)
    model.backbone.qwen.lm_head = Scripted(128, [7, start, 8])
    (answer,) = generate(model, bsq, [Prompt(ids=PROMPTS[0], keys=["key"])], GREEDY)
    assert (answer.ids, answer.ended) == ([7, start, *image], True)


@torch.inference_mode()
def test_the_second_image_of_an_answer_sees_the_first(bsq, make_model, make_batch) -> None:
    model = make_model(bsq)
    start, stop = model.config.marks.image_start, model.config.marks.answer_end
    model.backbone.qwen.lm_head = Scripted(128, [start, start, stop])
    (answer,) = generate(model, bsq, [Prompt(ids=[1, 2, 3], keys=["key"])], GREEDY, max_images=2)
    ids = torch.tensor([[1, 2, 3, *answer.ids]])
    codes = Codes.unpack([image.values_BL[0] for image in answer.images], bsq.schedule)
    like = make_batch(bsq, model.config, before=(3, 3))
    batch = replace(
        like,
        keys=("key",),
        input_ids_BS=ids,
        labels_BS=torch.full_like(ids, -100),
        attention_mask_BS=torch.ones_like(ids, dtype=torch.bool),
        image_rows_N=torch.tensor([0, 0]),
        image_starts_N=torch.tensor([4, 20]),
        inputs_NLD=bsq.next_scale_inputs(codes),
        targets_NLK=bsq.labels(codes).long(),
    )
    whole = model.config.codes.split(model(batch).image_logits_NLU).argmax(dim=-1)
    assert torch.equal(whole, batch.targets_NLK)


@torch.inference_mode()
@pytest.mark.parametrize("positions", ["grid", "plain"])
def test_an_input_image_counts_as_in_training(bsq, make_model, make_batch, positions) -> None:
    model = make_model(bsq, image_positions=positions)
    sizes = model.config.backbone
    input_image = [sizes.vision_start, *[sizes.image_token] * 6, sizes.vision_end]
    texts = [[1, *input_image, 2, 3], [4, 5, *input_image, 6]]
    pixels = torch.randn(2, 24, 3 * 2 * 14 * 14, generator=torch.Generator().manual_seed(0))
    grid = torch.tensor([[1, 4, 6]])
    prompts = [
        replace(started(model, text, f"{row}"), pixel_values=pixels[row], image_grid_thw=grid)
        for row, text in enumerate(texts)
    ]
    answers = generate(model, bsq, prompts, GREEDY)
    codes = Codes.unpack([answer.images[0].values_BL[0] for answer in answers], bsq.schedule)
    like = make_batch(bsq, model.config, before=(11, 11))
    ids = like.input_ids_BS.clone()
    ids[:, :11] = torch.tensor(texts)
    batch = replace(
        like,
        input_ids_BS=ids,
        inputs_NLD=bsq.next_scale_inputs(codes),
        targets_NLK=bsq.labels(codes).long(),
        pixel_values=pixels.flatten(0, 1),
        image_grid_thw=grid.repeat(2, 1),
    )
    logits = model(batch).image_logits_NLU
    assert torch.equal(model.config.codes.split(logits).argmax(dim=-1), batch.targets_NLK)
    other = model(replace(batch, pixel_values=batch.pixel_values + 1)).image_logits_NLU
    assert (other - logits).abs().amax(dim=2).min() > 1e-5, "every code sees the picture"


def test_an_answer_that_is_cut_off_says_so(bsq, make_model) -> None:
    model = make_model(bsq)
    model.backbone.qwen.lm_head = Scripted(128, [7] * 9)
    prompts = [Prompt(ids=PROMPTS[0], keys=["key"])]
    (answer,) = generate(model, bsq, prompts, GREEDY, max_text=4)
    assert (answer.ids, answer.ended, answer.images) == ([7] * 4, False, [])


def test_the_released_choices_generate_too(bsq, make_model) -> None:
    config = released(make_model(bsq).config)
    model = Vargpt(replace(config, decoder=replace(config.decoder, unconditional=16))).eval()
    prompts = [started(model, PROMPTS[0], "a"), started(model, PROMPTS[1], "b")]
    answers = generate(model, bsq, prompts)
    assert [answer.ids.count(model.config.marks.image_pad) for answer in answers] == [128, 128]


def test_the_released_guidance_has_a_context_of_limited_length(bsq, make_model) -> None:
    model = make_model(bsq, conditioning="constant")
    with pytest.raises(
        ValueError, match="a context of 7 vectors, but the model has 4 unconditional vectors"
    ):
        generate(model, bsq, [started(model, PROMPTS[1], "a")])


def test_what_is_not_the_models_is_refused_with_both_sides(bsq, tokenizers, make_model) -> None:
    model = make_model(bsq)
    prompt = started(model, PROMPTS[0], "key")
    with pytest.raises(ValueError, match=r"choices=2, .* the tokenizer's are .*choices=4096"):
        generate(model, tokenizers["var_vqvae"], [prompt])
    with pytest.raises(
        ValueError, match=r"trained on codes of tokenizer 5e17, but this tokenizer is [0-9a-f]"
    ):
        generate(Vargpt(replace(model.config, codes=bits(32, "5e17"))).eval(), bsq, [prompt])
    with pytest.raises(ValueError, match=r"up to 15 scales that start with 1x1, got 2: 2x2 3x3"):
        generate(model, bsq.with_schedule(((2, 2), (3, 3))), [prompt])
    with pytest.raises(ValueError, match=r"below 128, .*got \[3, 128\]"):
        generate(model, bsq, [Prompt(ids=[3, 128], keys=["key"])])
    with pytest.raises(ValueError, match="different keys"):
        generate(model, bsq, [prompt, prompt])
    with pytest.raises(ValueError, match="evaluation mode"):
        generate(model.train(), bsq, [prompt])


def test_marks_and_heads_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 1 element, 2 choices"):
        indices(1, 32)
    assert Marks().image_start == 151657
