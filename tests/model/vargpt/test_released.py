"""Checkpoints of the released layout, made up: no released file has been at hand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from released_checkpoint import drawn, infinity_shapes, released_shapes, write
from torch import Tensor

from model.vargpt.config import released
from model.vargpt.released import load_infinity, load_released, read_released
from model.vargpt.vargpt import Vargpt
from schemas.store.checkpoint import CheckpointError


@pytest.fixture
def make_released(bsq, make_model) -> Callable[..., tuple[Vargpt, dict[str, Tensor]]]:
    def make(**choices) -> tuple[Vargpt, dict[str, Tensor]]:
        config = released(make_model(bsq).config)
        config = replace(config, decoder=replace(config.decoder, depth=5), **choices)
        model = Vargpt(config).eval()
        return model, drawn(released_shapes(config, model))

    return make


@pytest.mark.parametrize("shards", [1, 3])
def test_a_checkpoint_of_the_released_layout_fills_every_weight(
    make_released, tmp_path: Path, shards: int
) -> None:
    model, tensors = make_released()
    load_released(model, write(tmp_path / "v1_1", tensors, shards))
    block = model.decoder.blocks[4]
    for found, key in (
        (block.attention.qkv.weight, "vargpt_gen.block_chunks.1.module.0.sa.mat_qkv.weight"),
        (block.cross_attention.kv.weight, "vargpt_gen.block_chunks.1.module.0.ca.mat_kv.weight"),
        (block.own, "vargpt_gen.block_chunks.1.module.0.ada_gss"),
        (block.attention.log_scale, "vargpt_gen.block_chunks.1.module.0.sa.scale_mul_1H11"),
        (model.decoder.conditioning.pool.query, "vargpt_gen.text_proj_for_sos.ca.mat_q"),
        (model.decoder.modulation.bias, "vargpt_gen.shared_ada_lin.1.bias"),
        (model.projector_out.down.weight, "image_gen_projector_out.mlp.2.weight"),
        (model.backbone.qwen.lm_head.weight, "lm_head.weight"),
    ):
        assert torch.equal(found.flatten(), tensors[key].flatten()), key
    start = tensors["sos_embedding.weight"][model.config.marks.image_start]
    assert torch.equal(model.decoder.conditioning.start, start)
    left = [key for key, weight in model.named_parameters() if not weight.abs().max() > 0.01]
    assert not left


def test_every_released_weight_comes_to_one_place_of_ours(make_released) -> None:
    model, tensors = make_released(conditioning="context", projector_norm=True)
    from model.vargpt.released import our_names

    ours = our_names(tensors, model.config.marks.image_start)
    state = model.state_dict()
    assert {key: tuple(x.shape) for key, x in ours.items()} == {
        key: tuple(x.shape) for key, x in state.items()
    }
    not_ours = [key for key in tensors if key.endswith("zero_k_bias") or "vae_local" in key]
    assert len(tensors) == len(ours) + len(not_ours)


def test_the_whole_model_is_read_in_the_dtype_asked_for(make_released, tmp_path: Path) -> None:
    model, tensors = make_released()
    url = write(tmp_path / "v1_1", tensors)
    read = read_released(url, model.config, dtype=torch.bfloat16)
    assert {weight.dtype for weight in read.parameters()} == {torch.bfloat16}
    assert torch.get_default_dtype() == torch.float32
    assert not read.training


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"vargpt_gen.head.weight": None, "lm_head.weight": None},
            r"lacks 2 tensors of the model \(backbone\.qwen\.lm_head\.weight, decoder\.head\.weig",
        ),
        ({"vargpt_gen.new": torch.ones(1)}, r"1 unexpected \(decoder\.new\)"),
        (
            {"sos_embedding.weight": torch.ones(7, 64)},
            r"decoder\.conditioning\.start \[7, 64\] instead of \[64\]",
        ),
        ({"lm_head.weight": torch.ones(128, 32)}, r"lm_head\.weight \[128, 32\] instead of"),
        ({"vargpt_gen.head.bias": torch.full((64,), torch.nan)}, r"not finite \(decoder\.head"),
    ],
)
def test_what_does_not_fit_is_named(make_released, tmp_path: Path, change, message) -> None:
    model, tensors = make_released()
    changed = {key: x for key, x in {**tensors, **change}.items() if x is not None}
    with pytest.raises(CheckpointError, match=message):
        load_released(model, write(tmp_path / "v1_1", changed))


def test_a_shard_that_is_cut_or_gone_and_an_index_that_is_none_are_refused(
    make_released, tmp_path: Path
) -> None:
    model, tensors = make_released()
    url = write(tmp_path / "v1_1", tensors, shards=2)
    second = tmp_path / "v1_1" / "model-00002-of-00002.safetensors"
    second.write_bytes(second.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"00002-of-00002\.safetensors: damaged or truncated"):
        load_released(model, url)
    second.unlink()
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_released(model, url)
    (tmp_path / "v1_1" / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match="expected a weight_map"):
        load_released(model, url)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_released(model, str(tmp_path / "nothing"))


def test_a_decoder_starts_from_infinitys_own_weights(make_released, tmp_path: Path) -> None:
    model, _ = make_released(conditioning="context")
    tensors = drawn(infinity_shapes(model.config))
    torch.save(tensors, tmp_path / "infinity.pth")
    before = model.decoder.conditioning.start.clone()
    load_infinity(model.decoder, str(tmp_path / "infinity.pth"))
    assert torch.equal(model.decoder.level_embed, tensors["lvl_embed.weight"])
    assert torch.equal(model.decoder.conditioning.up.weight, tensors["text_proj_for_ca.0.weight"])
    assert torch.equal(model.decoder.conditioning.start, before)
    del tensors["head.bias"]
    torch.save(tensors, tmp_path / "infinity.pth")
    with pytest.raises(CheckpointError, match=r"1 missing \(head\.bias\)"):
        load_infinity(model.decoder, str(tmp_path / "infinity.pth"))
