"""Loading of the released VARGPT-v1.1, and of Infinity-2B, which its decoder started from.

The names are from the authors' code. No released file was available: the tests check that a
checkpoint with these names and shapes fits, and that any other is refused.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Final

import torch
from torch import Tensor

from model.vargpt.config import PRESETS, VargptConfig, released
from model.vargpt.decoder import Decoder
from model.vargpt.vargpt import Vargpt
from schemas.store.checkpoint import SHOWN, CheckpointError, check_fit, read_checkpoint
from schemas.store.retries import open_fs

INDEX: Final = "model.safetensors.index.json"
WEIGHTS: Final = "model.safetensors"
START: Final = "decoder.conditioning.start"
CHUNK: Final = 4  # blocks that Infinity-2B keeps in one chunk

# Names of Infinity's modules; in VARGPT they have the prefix `vargpt_gen.`.
DECODER_NAMES: Final = (
    (r"^block_chunks\.(\d+)\.module\.(\d+)\.", None),  # becomes one number; see _block
    (r"\.ada_gss$", ".own"),
    (r"\.sa\.mat_qkv\.", ".attention.qkv."),
    (r"\.sa\.scale_mul_1H11$", ".attention.log_scale"),
    (r"\.sa\.", ".attention."),
    (r"\.ca\.mat_q\.", ".cross_attention.query."),
    (r"(^blocks\..*)\.ca\.mat_kv\.", r"\1.cross_attention.kv."),
    (r"(^blocks\..*)\.ca\.", r"\1.cross_attention."),
    (r"\.ca_norm\.", ".context_norm."),
    (r"\.ffn\.fc1\.", ".feed_forward.up."),
    (r"\.ffn\.fc2\.", ".feed_forward.down."),
    (r"^shared_ada_lin\.1\.", "modulation."),
    (r"^head_nm\.ada_lin\.1\.", "head_norm.lin."),
    (r"^lvl_embed\.weight$", "level_embed"),
    (r"^pos_start$", "start_position"),
    (r"^cfg_uncond$", "conditioning.unconditional"),
    (r"^text_norm\.", "conditioning.norm."),
    (r"^text_proj_for_sos\.ca\.mat_q$", "conditioning.pool.query"),
    (r"^text_proj_for_sos\.ca\.mat_kv\.", "conditioning.pool.kv."),
    (r"^text_proj_for_sos\.ca\.", "conditioning.pool."),
    (r"^text_proj_for_ca\.0\.", "conditioning.up."),
    (r"^text_proj_for_ca\.2\.", "conditioning.down."),
)
MODEL_NAMES: Final = (
    (r"^image_gen_projector\.ln_q\.", "projector_in.norm."),
    (r"^image_gen_projector\.mlp\.0\.", "projector_in.up."),
    (r"^image_gen_projector\.mlp\.2\.", "projector_in.down."),
    (r"^image_gen_projector_out\.ln_q\.", "projector_out.norm."),
    (r"^image_gen_projector_out\.mlp\.0\.", "projector_out.up."),
    (r"^image_gen_projector_out\.mlp\.2\.", "projector_out.down."),
    (r"^sos_embedding\.weight$", START),
    (r"^visual\.", "backbone.qwen.model.visual."),
    (r"^model\.", "backbone.qwen.model.language_model."),
    (r"^lm_head\.", "backbone.qwen.lm_head."),
)
CONSTANTS: Final = re.compile(r"\.zero_k_bias$")
"""Buffers that are not trained."""
TOKENIZER: Final = "vae_local."
"""The checkpoint also contains the frozen tokenizer of `infinity_vae_d32reg.pth`."""
NEVER_READ: Final = re.compile(r"^(projector_(in|out)\.norm|decoder\.conditioning\.(up|down))\.")
"""Weights, by our names, that the released checkpoint has but its code never applies. A model with
the released choices does not have them."""


def read_released(
    url: str,
    config: VargptConfig | None = None,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.bfloat16,
) -> Vargpt:
    """Build a model and load a released VARGPT-v1.1 into it, in evaluation mode.

    Args:
        url: as in `load_released`.
        config: sizes and choices; None for the released ones.
        device: torch's name of the device; the model takes 22 GB in bfloat16.
        dtype: of the weights.

    Raises:
        CheckpointError: as `load_released`.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = Vargpt(config or released(PRESETS["v1_1"]))
    finally:
        torch.set_default_dtype(before)
    load_released(model, url)
    return model.eval()


def load_released(model: Vargpt, url: str) -> None:
    """Load a released VARGPT-v1.1 into a model with the released choices.

    Args:
        model: a model with the checkpoint's sizes; filled in place, in its own dtype.
        url: the folder with `model.safetensors`, or its shards and their index; a path or any
            fsspec URL. One shard at a time is in memory.

    Raises:
        CheckpointError: a file is missing or damaged, or keys and shapes do not fit the model;
            lists missing and unexpected keys.
        StoreError: the store cannot be reached.
    """
    expected = dict(model.state_dict())
    tied = "backbone.qwen.lm_head.weight" if model.config.backbone.tied else ""
    expected.pop(tied, None)
    missing = set(expected)
    for name, tensors in _shards(url):
        renamed = our_names(tensors, model.config.marks.image_start)
        renamed.pop(tied, None)
        for key in [key for key in renamed if NEVER_READ.search(key) and key not in expected]:
            del renamed[key]
        here = {key: expected[key] for key in renamed.keys() & expected.keys()}
        check_fit(renamed, here, name)
        _fill(here, renamed)
        missing -= here.keys()
    if missing:
        shown = ", ".join(sorted(missing)[:SHOWN])
        raise CheckpointError(f"{url} lacks {len(missing)} tensors of the model ({shown}, ...)")


def load_infinity(decoder: Decoder, url: str) -> None:
    """Load the weights of Infinity-2B (`infinity_2b_reg.pth`) into a decoder of the same sizes.

    It loads all weights but `conditioning.start`, which Infinity does not have.

    Raises:
        CheckpointError: as `load_released`.
    """
    source = read_checkpoint(url)
    renamed = {
        decoder_name(key): tensor
        for key, tensor in source.tensors.items()
        if not CONSTANTS.search(key)
    }
    expected = decoder.state_dict()
    del expected[START.removeprefix("decoder.")]
    shaped = {key: _shaped(key, tensor) for key, tensor in renamed.items()}
    check_fit(shaped, expected, source.name)
    _fill(expected, shaped)


def our_names(tensors: Mapping[str, Tensor], start_mark: int) -> dict[str, Tensor]:
    """Return a released checkpoint's tensors by our names, without tokenizer and constants.

    Args:
        tensors: of one file, or of all files.
        start_mark: id of the token that starts an image. If the start embedding has a row for each
            id up to it, only this row is used, as in the released code.
    """
    named = {
        our_name(key): tensor
        for key, tensor in tensors.items()
        if not key.startswith(TOKENIZER) and not CONSTANTS.search(key)
    }
    if (start := named.get(START)) is not None and len(start) == start_mark + 1:
        named[START] = start[start_mark]
    return {name: _shaped(name, tensor) for name, tensor in named.items()}


def our_name(key: str) -> str:
    """Return our name of a released tensor; unknown names are unchanged.

    >>> our_name("model.layers.0.mlp.up_proj.weight")
    'backbone.qwen.model.language_model.layers.0.mlp.up_proj.weight'
    """
    if key.startswith("vargpt_gen."):
        return f"decoder.{decoder_name(key.removeprefix('vargpt_gen.'))}"
    for pattern, ours in MODEL_NAMES:
        if re.search(pattern, key):
            return re.sub(pattern, ours, key)
    return key


def decoder_name(key: str) -> str:
    """Return our name of an Infinity tensor.

    >>> decoder_name("block_chunks.1.module.2.sa.mat_qkv.weight")
    'blocks.6.attention.qkv.weight'
    """
    for pattern, ours in DECODER_NAMES:
        key = re.sub(pattern, ours or _block, key)
    return key


def _block(match: re.Match[str]) -> str:
    return f"blocks.{CHUNK * int(match[1]) + int(match[2])}."


def _shaped(name: str, tensor: Tensor) -> Tensor:
    """Return a tensor in our shape: Infinity has axes of length 1 for broadcasting."""
    if name.endswith(("start_position", ".own", ".log_scale", "pool.query")):
        return tensor.squeeze()
    return tensor


@torch.no_grad()
def _fill(targets: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    for key, target in targets.items():
        target.copy_(tensors[key])


def _shards(url: str) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    fs, folder = open_fs(url)
    if not fs.exists(f"{folder}/{INDEX}"):
        source = read_checkpoint(f"{url}/{WEIGHTS}")
        yield source.name, source.tensors
        return
    try:
        index = json.loads(fs.cat_file(f"{folder}/{INDEX}"))
        shards = {PurePosixPath(name).name for name in index["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{url}/{INDEX}: expected a weight_map: {error!r}") from error
    for shard in sorted(shards):
        source = read_checkpoint(f"{url}/{shard}")
        yield source.name, source.tensors
