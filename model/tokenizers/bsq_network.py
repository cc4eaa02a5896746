"""Weights of Infinity's BSQ-VAE (arXiv 2412.04431; models/bsq_vae of its repository)."""

from collections.abc import Mapping

from torch import Tensor, nn

from model.tokenizers.conv_blocks import Decoder, Encoder
from model.tokenizers.sizes import BsqConfig


class BsqNetwork(nn.Module):
    """The weights, with the keys that `plain_keys` makes of a published checkpoint's keys."""

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
        """Return the features for the quantizer, [B, bits, H / 16, W / 16]."""
        return self.encoder(images_B3HW)

    def decode(self, features_BCHW: Tensor) -> Tensor:
        """Return images [B, 3, 16 H, 16 W] of quantized features, unclamped."""
        return self.decoder(features_BCHW)


def plain_keys(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a published checkpoint by `BsqNetwork`'s names.

    Infinity wraps each convolution and norm in another module, so its keys are `conv1.conv.weight`
    or, in some files, `conv1.weight`; both are accepted. VARGPT-v1.1 stores the tokenizer with the
    whole model, under `vae_local.`. The masks are left out: they are constants of the quantizer, 2
    ** (bits - 1) ... 1.
    """
    prefix = "vae_local." if any(key.startswith("vae_local.") for key in tensors) else ""
    return {
        _plain(key.removeprefix(prefix)): tensor
        for key, tensor in tensors.items()
        if key.startswith(prefix) and not key.endswith(".lfq.mask")
    }


def _plain(key: str) -> str:
    *path, name = key.split(".")
    if not path:  # a key of another model; `check_fit` reports it
        return key
    *modules, wrapper = path
    # downsample and upsample also have a module `conv`, which is no wrapper.
    is_wrapper = modules and (
        (wrapper == "norm" and modules[-1].startswith("norm"))
        or (wrapper == "conv" and modules[-1].startswith(("conv", "nin_shortcut")))
    )
    return ".".join([*modules, name]) if is_wrapper else key


def wrapped_key(key: str) -> str:
    """Return Infinity's key of a tensor of `BsqNetwork`.

    >>> wrapped_key("encoder.mid.block_1.norm1.weight")
    'encoder.mid.block_1.norm1.norm.weight'
    """
    *modules, name = key.split(".")
    return ".".join([*modules, "norm" if modules[-1].startswith("norm") else "conv", name])
