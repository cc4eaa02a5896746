"""Checkpoints of the layout of the released VARGPT-v1.1, made up: weights are random."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from model.vargpt.config import VargptConfig
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
