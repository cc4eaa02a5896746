"""Makes a tokenizer from the names and paths a recipe holds."""

from dataclasses import replace
from typing import Final

import torch

from model.tokenizers.checkpoint import Checkpoint, check_fit, read_checkpoint
from model.tokenizers.protocol import Tokenizer
from model.tokenizers.var_network import PATCH_NUMS, PRESETS, VarConfig, VarNetwork
from model.tokenizers.var_vqvae import VarVqvae
from model.tokenizers.weights import random_weights

HIT_COUNTS: Final = "quantize.ema_vocab_hit_SV"


def load_tokenizer(
    name: str,
    *,
    preset: str,
    checkpoint: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    resolution: int = 256,
) -> Tokenizer:
    """Load a tokenizer with the weights of a checkpoint, or random ones where there is none.

    Args:
        name: `var_vqvae`.
        preset: the size, `full` or `small`.
        checkpoint: a local path or any fsspec URL of a `.safetensors`, `.pth` or `.pt` file.
        seed: of the random weights; ignored with a checkpoint.
        device: as torch names it.
        resolution: side of the images in pixels, 256 or 512.

    Raises:
        ValueError: an unknown name, preset or resolution.
        CheckpointError: a checkpoint that cannot be read or does not fit.
    """
    if name != "var_vqvae":
        raise ValueError(f"unknown tokenizer {name!r}, expected 'var_vqvae'")
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}, expected one of {sorted(PRESETS)}")
    if resolution not in PATCH_NUMS:
        raise ValueError(f"unknown resolution {resolution}, expected one of {sorted(PATCH_NUMS)}")
    config = replace(PRESETS[preset], patch_nums=PATCH_NUMS[resolution])
    source = read_checkpoint(checkpoint) if checkpoint else None
    return make_var_vqvae(config, source, seed=seed, device=torch.device(device))


def make_var_vqvae(
    config: VarConfig, source: Checkpoint | None, *, seed: int, device: torch.device
) -> VarVqvae:
    """Build a VAR VQVAE of any size; weights of another float type are cast to float32.

    Raises:
        CheckpointError: the checkpoint does not fit the sizes.
    """
    with torch.device("meta"):
        network = VarNetwork(config)
    expected = network.state_dict()
    if source is None:
        source = Checkpoint(
            name=f"random weights, seed {seed}", sha256="", tensors=random_weights(expected, seed)
        )
    tensors = dict(source.tensors)
    # One row a scale, counted in training: unused here, and the only tensor that depends on the
    # number of scales, so a checkpoint serves any schedule without it.
    tensors[HIT_COUNTS] = torch.zeros(expected[HIT_COUNTS].shape)
    check_fit(tensors, expected, source.name)
    network.load_state_dict({key: x.float() for key, x in tensors.items()}, assign=True)
    return VarVqvae(
        network, config, checkpoint=source.name, checkpoint_sha256=source.sha256, device=device
    )
