"""Loading of a tokenizer by the names and paths in a recipe."""

from dataclasses import replace
from typing import Final, Literal

import torch
from torch import Tensor, nn

from filters.compute import Compute
from model.tokenizers.bsq_network import BsqNetwork, plain_keys
from model.tokenizers.infinity_bsq import InfinityBsq
from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.tokenizers.sizes import (
    BUNDLED,
    PRESETS,
    BsqConfig,
    VarConfig,
    bundled_checkpoint,
    schedule_of,
)
from model.tokenizers.var_network import VarNetwork
from model.tokenizers.var_vqvae import VarVqvae
from model.tokenizers.weights import random_weights
from schemas.store.checkpoint import Checkpoint, check_fit, read_checkpoint
from schemas.store.errors import SettingsError

TokenizerName = Literal["infinity_bsq", "var_vqvae"]

HIT_COUNTS: Final = "quantize.ema_vocab_hit_SV"


def load_tokenizer(
    name: str,
    *,
    preset: str,
    checkpoint: str | None = None,
    seed: int = 0,
    compute: Compute | None = None,
    resolution: int = 256,
    aspect: float = 1.0,
) -> NetworkTokenizer:
    """Load a tokenizer with the weights of a checkpoint, or random weights if there is none.

    Args:
        name: `infinity_bsq` or `var_vqvae`.
        preset: the size; `bundled` comes with its own weights.
        checkpoint: a local path or any fsspec URL of a `.safetensors`, `.pth` or `.pt` file.
        seed: of the random weights; ignored with a checkpoint.
        compute: device and precision; None for fp32 on the CPU.
        resolution: the pixel budget, given as the side in pixels of its square image.
        aspect: height / width; only Infinity's tokenizers accept others than 1.

    Raises:
        SettingsError: name, preset or resolution are unknown, or there is no schedule for the
            aspect.
        CheckpointError: the checkpoint cannot be read or does not fit.
    """
    if name not in PRESETS:
        raise SettingsError(f"unknown tokenizer {name!r}, expected one of {sorted(PRESETS)}")
    presets = PRESETS[name]
    if preset not in presets:
        raise SettingsError(f"unknown preset {preset!r} of {name}, expected one of {list(presets)}")
    config = presets[preset]
    schedule = schedule_of(config, resolution, aspect)
    compute = compute or Compute()
    source = read_checkpoint(checkpoint) if checkpoint else None
    if preset == BUNDLED and source is None:
        source = replace(read_checkpoint(bundled_checkpoint(name)), name=f"bundled {name}")
    if isinstance(config, BsqConfig):
        return make_infinity_bsq(config, source, seed=seed, compute=compute).with_schedule(schedule)
    return make_var_vqvae(config, source, seed=seed, compute=compute).with_schedule(schedule)


def make_var_vqvae(
    config: VarConfig, source: Checkpoint | None, *, seed: int = 0, compute: Compute | None = None
) -> VarVqvae:
    """Build a VAR VQVAE of any size; weights of another float type are cast to float32.

    Raises:
        CheckpointError: the checkpoint does not fit the sizes.
    """
    with torch.device("meta"):
        network = VarNetwork(config)
    expected = network.state_dict()
    source = source or _random(expected, seed)
    tensors = dict(source.tensors)
    # Counts of training, one row per scale, not used here. It is the only tensor that depends on
    # the number of scales, so without it a checkpoint fits any schedule.
    tensors[HIT_COUNTS] = torch.zeros(expected[HIT_COUNTS].shape)
    _fill(network, tensors, source.name)
    return VarVqvae(
        network,
        config,
        compute=compute or Compute(),
        checkpoint=source.name,
        checkpoint_sha256=source.sha256,
    )


def make_infinity_bsq(
    config: BsqConfig, source: Checkpoint | None, *, seed: int = 0, compute: Compute | None = None
) -> InfinityBsq:
    """Build a BSQ-VAE of any size, for its 256 px schedule; weights are cast to float32.

    Raises:
        CheckpointError: the checkpoint does not fit the sizes.
    """
    with torch.device("meta"):
        network = BsqNetwork(config)
    source = source or _random(network.state_dict(), seed)
    _fill(network, plain_keys(source.tensors), source.name)
    return InfinityBsq(
        network,
        config,
        schedule=schedule_of(config, 256),
        compute=compute or Compute(),
        checkpoint=source.name,
        checkpoint_sha256=source.sha256,
    )


def _random(expected: dict[str, Tensor], seed: int) -> Checkpoint:
    return Checkpoint(
        name=f"random weights, seed {seed}", sha256="", tensors=random_weights(expected, seed)
    )


def _fill(network: nn.Module, tensors: dict[str, Tensor], name: str) -> None:
    check_fit(tensors, network.state_dict(), name)
    network.load_state_dict({key: x.float() for key, x in tensors.items()}, assign=True)
