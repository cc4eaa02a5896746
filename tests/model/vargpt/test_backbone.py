from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.vargpt.backbone import Backbone, backbone_config, load_qwen, qwen_config
from model.vargpt.config import PRESETS, TINY, BackboneConfig
from model.vargpt.vargpt import Vargpt

IMAGE, START, END = TINY.backbone.image_token, TINY.backbone.vision_start, TINY.backbone.vision_end
# An input image of 4 x 6 patches, so 2 x 3 tokens.
GRID = torch.tensor([[1, 4, 6]])
PIXELS = torch.randn(24, 3 * 2 * 14 * 14, generator=torch.Generator().manual_seed(0))
IDS = torch.tensor([[5, 6, START, *[IMAGE] * 6, END, 7, 8]])


def backbone() -> Backbone:
    torch.manual_seed(0)
    return Backbone(TINY.backbone).eval()


@pytest.mark.parametrize("name", list(PRESETS))
def test_sizes_go_to_transformers_and_back(name: str) -> None:
    config = PRESETS[name].backbone
    assert backbone_config(qwen_config(config)) == config


def test_the_largest_preset_is_qwen2_vl_7b_as_transformers_has_it() -> None:
    config = qwen_config(BackboneConfig())
    assert config.text_config.rope_parameters["mrope_section"] == [16, 24, 24]
    assert config.vision_config.mlp_ratio == 4
    assert config.text_config.layer_types == ["full_attention"] * 28


@torch.inference_mode()
def test_hidden_states_and_logits_are_those_of_transformers() -> None:
    model = backbone()
    used = torch.ones_like(IDS, dtype=torch.bool)
    embeds = model.embed(IDS, PIXELS, GRID)
    hidden = model(embeds, model.positions(IDS, used, GRID))
    expected = model.qwen(
        input_ids=IDS,
        pixel_values=PIXELS,
        image_grid_thw=GRID,
        mm_token_type_ids=(IDS == IMAGE).int(),
    ).logits
    torch.testing.assert_close(model.text_logits(hidden), expected)


def test_an_input_image_takes_its_grid_and_text_counts_on_after_it() -> None:
    used = torch.ones_like(IDS, dtype=torch.bool)
    time, height, width = backbone().positions(IDS, used, GRID)[:, 0].tolist()
    assert time == [0, 1, 2, 3, 3, 3, 3, 3, 3, 6, 7, 8]
    assert height == [0, 1, 2, 3, 3, 3, 4, 4, 4, 6, 7, 8]
    assert width == [0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 7, 8]


def test_without_a_grid_positions_count_what_is_used() -> None:
    used = torch.tensor([[True] * 3 + [False], [True] * 4])
    ids = torch.ones(2, 4, dtype=torch.long)
    for axis in backbone().positions(ids, used, None).tolist():
        assert axis == [[0, 1, 2, 2], [0, 1, 2, 3]]


def test_as_many_image_tokens_as_features_are_asked_for() -> None:
    with pytest.raises(
        ValueError, match="the text has 5 image tokens, but its images have 6 features"
    ):
        backbone().embed(IDS[:, 4:], PIXELS, GRID)


def test_any_qwen2_vl_is_loaded_and_built_around(tmp_path: Path) -> None:
    other = replace(TINY.backbone, hidden=32, heads=2, kv_heads=1, layers=3, tied=True)
    torch.manual_seed(1)
    Backbone(other).qwen.save_pretrained(tmp_path)
    qwen = load_qwen(str(tmp_path), dtype=torch.float32)
    model = Vargpt.around(qwen, TINY)
    assert model.config.backbone == other
    assert model.projector_in.down.out_features == 32
    torch.manual_seed(1)
    expected = Backbone(other).qwen.state_dict()
    for key, weight in model.backbone.qwen.state_dict().items():
        assert torch.equal(weight, expected[key]), key


def test_a_qwen2_vl_of_other_sizes_is_refused_with_both() -> None:
    qwen = backbone().qwen
    with pytest.raises(ValueError, match=r"expected a Qwen2-VL of .*layers=9.*got .*layers=2"):
        Backbone(replace(TINY.backbone, layers=9), qwen)


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="half a head"):
        replace(TINY.backbone, rope_sections=(2, 2, 2))
    with pytest.raises(ValueError, match="multiple of heads 3"):
        replace(TINY.backbone, heads=3)
