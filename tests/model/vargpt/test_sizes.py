"""Parameter counts of the presets; those of v1_1 against the released model, part by part."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch
from torch import nn

from model.vargpt.codes import indices
from model.vargpt.config import PRESETS, SPECIAL, VargptConfig, released, with_vocabulary
from model.vargpt.decoder import Decoder
from model.vargpt.projectors import Projector
from model.vargpt.vargpt import Vargpt


def count(modules: nn.Module | Iterable[nn.Module | nn.Parameter]) -> int:
    if isinstance(modules, nn.Module):
        return sum(weight.numel() for weight in modules.parameters())
    return sum(x.numel() if isinstance(x, nn.Parameter) else count(x) for x in modules)


def build(config: VargptConfig) -> Vargpt:
    with torch.device("meta"):
        return Vargpt(config)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    config = PRESETS["v1_1"]
    with torch.device("meta"):
        return Decoder(config.decoder, config.codes, config.conditioning)


def test_the_decoder_has_what_infinity_2b_has_and_a_start(decoder: Decoder) -> None:
    parts = decoder.conditioning
    assert count(decoder) - parts.start.numel() == 2_204_564_032
    assert count(decoder.blocks) == 2_148_729_344
    assert count(decoder.modulation) == 25_178_112  # shared_ada_lin
    assert count(parts.pool) == 12_589_056  # text_proj_for_sos
    assert count([parts.up, parts.down]) == 8_392_704  # text_proj_for_ca
    assert count(decoder.head_norm) == 8_392_704
    assert parts.unconditional.numel() == 512 * 2048
    assert count(decoder.head) == 64 * 2048 + 64
    assert count(decoder.word_embed) == 32 * 2048 + 2048
    assert decoder.level_embed.numel() == 15 * 2048
    assert decoder.start_position.numel() == parts.start.numel() == 2048


def test_the_projectors_are_those_of_the_released_model() -> None:
    hidden, width = PRESETS["v1_1"].backbone.hidden, PRESETS["v1_1"].decoder.width
    with torch.device("meta"):
        into, out = Projector(width, hidden, norm=False), Projector(hidden, width, norm=False)
        normed = Projector(width, hidden, norm=True)
    assert (count(into), count(out)) == (11_539_968, 20_190_720)
    assert count(normed) - count(into) == 2 * width


def test_the_released_choices_leave_out_what_its_code_never_reads() -> None:
    config = released(PRESETS["v1_1"])
    with torch.device("meta"):
        decoder = Decoder(config.decoder, config.codes, config.conditioning)
    assert count(decoder) == 2_204_564_032 - 8_392_704 + 2048


def test_the_backbone_has_what_qwen2_vl_7b_has() -> None:
    model = build(PRESETS["v1_1"])
    assert count(model.backbone) == 8_291_375_616
    assert count(model) == 8_291_375_616 + 2_204_566_080 + 11_544_064 + 20_197_888


def test_the_small_one_is_mostly_words_with_qwens_vocabulary() -> None:
    config = PRESETS["small"]
    assert count(build(config)) == 169_902_240
    ids = {token: 4000 + number for number, token in enumerate(SPECIAL)}
    assert count(build(with_vocabulary(config, {**ids, "last": 4095}))) == 94_142_624


def test_the_tiny_one_is_tiny_with_either_codes() -> None:
    config = PRESETS["tiny"]
    assert count(build(config)) == 378_024
    assert count(build(replace(config, codes=indices(4096, 32)))) == 640_104
