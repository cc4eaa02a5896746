"""Checkpoints of the released layout, made up: no released file has been at hand."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from model.tokenizers.checkpoint import CheckpointError
from model.vargpt.config import VargptConfig, released
from model.vargpt.released import load_infinity, load_released, read_released
from model.vargpt.vargpt import Vargpt

Shapes = dict[str, tuple[int, ...]]


def linear(name: str, out: int, into: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (out, into), **({f"{name}.bias": (out,)} if bias else {})}


def infinity_shapes(config: VargptConfig) -> Shapes:
    """Names and shapes of Infinity's state dict, as its modules make them."""
    c, heads, codes = config.decoder.width, config.decoder.heads, config.codes
    shapes: Shapes = {
        "cfg_uncond": (config.decoder.unconditional, c),
        "pos_start": (1, 1, c),
        "text_norm.weight": (c,),
        "text_proj_for_sos.ca.mat_q": (1, heads, c // heads),
        "text_proj_for_sos.ca.v_bias": (c,),
        "text_proj_for_sos.ca.zero_k_bias": (c,),
        "lvl_embed.weight": (config.decoder.levels, c),
        **linear("text_proj_for_sos.ca.mat_kv", 2 * c, c, bias=False),
        **linear("text_proj_for_sos.ca.proj", c, c),
        **linear("text_proj_for_ca.0", c, c),
        **linear("text_proj_for_ca.2", c, c),
        **linear("word_embed", c, codes.width),
        **linear("shared_ada_lin.1", 6 * c, c),
        **linear("head_nm.ada_lin.1", 2 * c, c),
        **linear("head", codes.logits, c),
    }
    for number in range(config.decoder.depth):
        block = f"block_chunks.{number // 4}.module.{number % 4}"
        shapes |= {
            f"{block}.ada_gss": (1, 1, 6, c),
            f"{block}.sa.scale_mul_1H11": (1, heads, 1, 1),
            f"{block}.sa.q_bias": (c,),
            f"{block}.sa.v_bias": (c,),
            f"{block}.sa.zero_k_bias": (c,),
            f"{block}.ca.v_bias": (c,),
            f"{block}.ca.zero_k_bias": (c,),
            f"{block}.ca_norm.weight": (c,),
            f"{block}.ca_norm.bias": (c,),
            **linear(f"{block}.sa.mat_qkv", 3 * c, c, bias=False),
            **linear(f"{block}.sa.proj", c, c),
            **linear(f"{block}.ca.mat_q", c, c),
            **linear(f"{block}.ca.mat_kv", 2 * c, c, bias=False),
            **linear(f"{block}.ca.proj", c, c),
            **linear(f"{block}.ffn.fc1", 4 * c, c),
            **linear(f"{block}.ffn.fc2", c, 4 * c),
        }
    return shapes


def released_shapes(config: VargptConfig, model: Vargpt) -> Shapes:
    """Names and shapes of a released VARGPT-v1.1, of transformers as it was then."""
    hidden, c = config.backbone.hidden, config.decoder.width
    shapes: Shapes = {
        "sos_embedding.weight": (config.marks.image_start + 1, c),
        "vae_local.decoder.conv_in.conv.weight": (4, 4),
        **{f"vargpt_gen.{key}": shape for key, shape in infinity_shapes(config).items()},
    }
    for name, width, out in (
        ("image_gen_projector", c, hidden),
        ("image_gen_projector_out", hidden, c),
    ):
        shapes |= {f"{name}.ln_q.weight": (width,), f"{name}.ln_q.bias": (width,)}
        shapes |= {**linear(f"{name}.mlp.0", width, width), **linear(f"{name}.mlp.2", out, width)}
    for key, tensor in model.backbone.qwen.state_dict().items():
        old = key.replace("model.visual.", "visual.").replace("model.language_model.", "model.")
        shapes[old] = tuple(tensor.shape)
    return shapes


def drawn(shapes: Shapes) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def write(folder: Path, tensors: Mapping[str, Tensor], shards: int = 1) -> str:
    folder.mkdir()
    if shards == 1:
        save_file(dict(tensors), folder / "model.safetensors")
        return str(folder)
    places = {
        key: f"model-{number % shards + 1:05d}-of-{shards:05d}.safetensors"
        for number, key in enumerate(sorted(tensors))
    }
    for place in set(places.values()):
        save_file({key: tensors[key] for key in tensors if places[key] == place}, folder / place)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return str(folder)


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
