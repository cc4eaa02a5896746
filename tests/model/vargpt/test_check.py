from dataclasses import replace

import pytest
import torch

from model.vargpt.check import check_batch, check_vocabulary
from model.vargpt.config import SPECIAL, TINY, with_vocabulary

LONG = tuple((side, side) for side in range(1, 17))


@pytest.fixture
def config(bsq, make_model):
    return make_model(bsq).config


def test_a_batch_of_the_model_passes(config, bsq, make_batch) -> None:
    check_batch(make_batch(bsq, config), config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": LONG}, r"up to 15 scales that start with 1x1, got 16: 1x1 2x2"),
        ({"schedule": ((2, 2), (3, 3))}, r"start with 1x1, got 2: 2x2 3x3"),
        (
            {"schedule": ((1, 1), (4, 4))},
            r"inputs of 2 images of 17 positions: expected \[2, 16, 32\]",
        ),
        ({"input_ids_BS": torch.full((2, 24), 128)}, r"token 128, but the embedding has 128 rows"),
        (
            {"labels_BS": torch.full((2, 24), 999)},
            r"labels have token 999, but the text head has 128",
        ),
        ({"inputs_NLD": torch.zeros(2, 13, 16)}, r"\[2, 13, 32\] for .*choices=2.*\[2, 13, 16\]"),
        ({"targets_NLK": torch.zeros(2, 14, 1).long()}, r"\[2, 14, 32\] .*got \[2, 14, 1\]"),
        (
            {"targets_NLK": torch.full((2, 14, 32), 7)},
            r"targets are 7 to 7, but the model has 2 choices",
        ),
        ({"input_ids_BS": torch.zeros(2, 24).long()}, r"need 14 pads each, but the text has 0"),
        ({"image_starts_N": torch.tensor([7, 9])}, r"at \[7, 9\] of sequences \[0, 1\]"),
        (
            {"image_rows_N": torch.tensor([1, 0])},
            r"of sequences \[1, 0\], but the pads are elsewhere",
        ),
        ({"pixel_values": torch.zeros(4, 9)}, r"pixel_values and image_grid_thw together"),
    ],
)
def test_what_does_not_fit_is_said_with_both_sides(
    config, bsq, make_batch, change, message
) -> None:
    with pytest.raises(ValueError, match=message):
        check_batch(replace(make_batch(bsq, config), **change), config)


def test_codes_of_another_tokenizer_are_refused(config, tokenizers, make_batch) -> None:
    var = tokenizers["var_vqvae"]
    with pytest.raises(ValueError, match=r"targets .*\[2, 14, 32\].*got \[2, 14, 1\]"):
        check_batch(make_batch(var, config), config)


def test_a_text_tokenizer_of_other_ids_or_more_tokens_is_refused() -> None:
    vocabulary = {token: 100 + number for number, token in enumerate(SPECIAL)}
    config = with_vocabulary(TINY, vocabulary)
    assert config.backbone.vocab == 128
    assert (config.marks.image_start, config.marks.answer_end) == (100, 103)
    assert (config.backbone.image_token, config.backbone.vision_end) == (104, 107)
    check_vocabulary(config, vocabulary)
    with pytest.raises(ValueError, match="ids up to 128, but the embedding has 128 rows"):
        check_vocabulary(config, {**vocabulary, "more": 128})
    with pytest.raises(ValueError, match=r"<\|im_end\|> has id 103 in the model, 7 in the text"):
        check_vocabulary(config, {**vocabulary, "<|im_end|>": 7})
    with pytest.raises(ValueError, match=r"of 7 tokens lacks \['<\|im_end\|>'\]"):
        with_vocabulary(TINY, {t: i for t, i in vocabulary.items() if t != "<|im_end|>"})


def test_marks_beyond_the_vocabulary_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit a vocabulary of 126"):
        replace(TINY, backbone=replace(TINY.backbone, vocab=126))
