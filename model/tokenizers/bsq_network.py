"""Weights of Infinity's BSQ-VAE (arXiv 2412.04431; models/bsq_vae of its repository)."""

from collections.abc import Mapping

from torch import Tensor, nn

from model.tokenizers.conv_blocks import Decoder, Encoder
from model.tokenizers.sizes import BsqConfig


class BsqNetwork(nn.Module):
    """The weights, under the plain keys that `plain_keys` maps a published checkpoint's to."""

    def __init__(self, config: BsqConfig) -> None:
        super().__init__()
        self.encoder = Encoder(
            ch=config.ch,
            ch_mult=config.ch_mult,
            num_res_blocks=config.num_res_blocks,
            z_channels=config.bits,
            attention=False,
            norm_groups=config.norm_groups,
        )
        self.decoder = Decoder(
            ch=config.ch,
            ch_mult=config.ch_mult,
            num_res_blocks=config.num_res_blocks,
            z_channels=config.bits,
            attention=False,
            norm_groups=config.norm_groups,
        )

    def encode(self, images_B3HW: Tensor) -> Tensor:
        """Return the features that the quantizer reads, [B, bits, H / 16, W / 16]."""
        return self.encoder(images_B3HW)

    def decode(self, features_BCHW: Tensor) -> Tensor:
        """Return images [B, 3, 16 H, 16 W] of quantized features, unclamped."""
        return self.decoder(features_BCHW)


def plain_keys(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name the tensors of a published checkpoint as `BsqNetwork` does.

    Infinity's modules wrap each convolution and norm in one of their own, so that a key reads
    `conv1.conv.weight` where the file itself may say `conv1.weight`; both are taken. VARGPT-v1.1
    keeps the tokenizer among the weights of the whole model, under `vae_local.`. The masks are
    constants of the quantizer, 2 ** (bits - 1) ... 1.
    """
    prefix = "vae_local." if any(key.startswith("vae_local.") for key in tensors) else ""
    return {
        _plain(key.removeprefix(prefix)): tensor
        for key, tensor in tensors.items()
        if key.startswith(prefix) and not key.endswith(".lfq.mask")
    }


def _plain(key: str) -> str:
    *path, name = key.split(".")
    if not path:  # of another kind of model, which the check names
        return key
    *modules, wrapper = path
    # downsample and upsample have a convolution of that name of their own, inside the wrapper.
    is_wrapper = modules and (
        (wrapper == "norm" and modules[-1].startswith("norm"))
        or (wrapper == "conv" and modules[-1].startswith(("conv", "nin_shortcut")))
    )
    return ".".join([*modules, name]) if is_wrapper else key


def wrapped_key(key: str) -> str:
    """Return the key under which Infinity's own modules hold a tensor of `BsqNetwork`.

    >>> wrapped_key("encoder.mid.block_1.norm1.weight")
    'encoder.mid.block_1.norm1.norm.weight'
    """
    *modules, name = key.split(".")
    return ".".join([*modules, "norm" if modules[-1].startswith("norm") else "conv", name])
