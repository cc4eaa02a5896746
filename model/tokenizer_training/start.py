"""Where the weights of a network start from."""

import torch
from torch import nn


@torch.no_grad()
def start_near_identity(network: nn.Module) -> None:
    """Let a tokenizer begin as little more than shrinking an image and enlarging it again.

    Residual branches begin at nothing, what halves or doubles a grid at the mean and the copy of
    its channels. A small network then starts from blurred images instead of from noise, which
    saves it the first hundreds of steps, and needs no norms to be stable.
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
