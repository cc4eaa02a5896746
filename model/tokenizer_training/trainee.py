"""A tokenizer to train: its network, initial weights, and the schedule of each crop."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

from model.tokenizer_training.objectives import (
    BsqObjective,
    LossWeights,
    Objective,
    VarObjective,
)
from model.tokenizers.bsq_network import BsqNetwork
from model.tokenizers.protocol import Schedule
from model.tokenizers.schedules import bsq_schedule, double
from model.tokenizers.sizes import PATCH_NUMS, PRESETS, BsqConfig, VarConfig
from model.tokenizers.var_network import VarNetwork
from schemas.store.errors import SettingsError

# Scale sides of crops that are smaller than any published schedule; the last is the crop's grid.
_SMALL_VAR: Final = {64: (1, 2, 3, 4), 128: (1, 2, 3, 4, 5, 6, 7, 8)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Trainee:
    """A tokenizer to train: its name and configuration."""

    name: str  # infinity_bsq or var_vqvae
    config: BsqConfig | VarConfig

    @classmethod
    def of_preset(cls, name: str, preset: str) -> "Trainee":
        """Return the tokenizer of a preset.

        Raises:
            SettingsError: the preset is unknown; lists the known ones.
        """
        if preset not in PRESETS[name]:
            raise SettingsError(f"unknown preset {preset!r} of {name}, expected {[*PRESETS[name]]}")
        return cls(name=name, config=PRESETS[name][preset])

    def objective(self, weights: LossWeights, seed: int) -> Objective:
        """Build the network, initialised by `seed`, in its objective."""
        torch.manual_seed(seed)
        if isinstance(self.config, BsqConfig):
            network = BsqNetwork(self.config)
            objective: Objective = BsqObjective(network, weights)
        else:
            network = VarNetwork(self.config)
            objective = VarObjective(network, weights)
        start_near_identity(network)
        return objective

    def schedule(self, side: int) -> Schedule:
        """Return the scales of a square crop of `side` px.

        Published sizes have their own schedule. Smaller crops, which cost less, have a part of it:
        Infinity's scales up to the size of the crop; for VAR a short list of scales.

        Raises:
            SettingsError: there is no schedule for the side; lists the sides that have one.
        """
        if isinstance(self.config, BsqConfig):
            scales = [size for size in bsq_schedule(1.0, 1024) if size[0] * 16 <= side]
            if scales and scales[-1][0] * 16 == side:
                return double(tuple(scales)) if self.config.patchify else tuple(scales)
            allowed = [size[0] * 16 for size in bsq_schedule(1.0, 1024)]
        else:
            sides = {**_SMALL_VAR, **PATCH_NUMS}
            if side in sides:
                return tuple((scale, scale) for scale in sides[side])
            allowed = sorted(sides)
        raise SettingsError(f"no schedule for crops of {side} px, expected one of {allowed}")


@torch.no_grad()
def start_near_identity(network: nn.Module) -> None:
    """Initialise a tokenizer so that it shrinks an image and enlarges it again.

    Residual branches start at zero, downsampling at the mean of the channels and upsampling at
    their copy. A small network then starts from blurred images instead of noise, which saves
    hundreds of steps, and is stable without norms.
    """
    for name, module in network.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        channels = torch.arange(module.out_channels)
        assert module.bias is not None
        if name.endswith("conv2") or name.endswith("proj_out"):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
        elif "downsample" in name:
            module.weight.mul_(0.1)
            module.weight[channels, channels, :2, :2] += 0.25
            nn.init.zeros_(module.bias)
        elif "upsample" in name:
            module.weight.mul_(0.1)
            module.weight[channels, channels, 1, 1] += 1.0
            nn.init.zeros_(module.bias)
        elif name.endswith(("nin_shortcut", "conv_in")):
            nn.init.orthogonal_(module.weight)
            nn.init.zeros_(module.bias)
