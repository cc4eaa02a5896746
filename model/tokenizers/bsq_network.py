"""Sizes and weights of Infinity's BSQ-VAE (arXiv 2412.04431; models/bsq_vae of its repository)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn

from model.tokenizers.conv_blocks import Decoder, Encoder


@dataclass(frozen=True, kw_only=True, slots=True)
class BsqConfig:
    """Size of a BSQ-VAE; the defaults are those of d32, which VARGPT-v1.1 uses.

    Raises:
        ValueError: more bits a position than two words of 32 hold.
    """

    bits: int = 32  # a position, and channels of the features
    ch: int = 128  # width of the highest resolution
    ch_mult: tuple[int, ...] = (1, 2, 4, 4, 4)  # width of each level, in ch
    num_res_blocks: int = 2  # a level
    norm_groups: int | None = None  # of every norm; 0 for none, None for the published rule
    patchify: bool = False  # the next-scale model sees 2 x 2 positions as one

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 64:
            raise ValueError(f"expected 1 to 64 bits a position, not {self.bits}")

    @property
    def stride(self) -> int:
        """Pixels a feature, on either axis."""
        return 2 ** (len(self.ch_mult) - 1)


PRESETS: Final = {
    "d16": BsqConfig(bits=16),
    "d24": BsqConfig(bits=24),
    "d32": BsqConfig(),
    "d64": BsqConfig(bits=64),
    "d14_patchify": BsqConfig(bits=14, ch_mult=(1, 2, 4, 4), patchify=True),
    "bundled": BsqConfig(ch=16, ch_mult=(1, 1, 2, 4, 6), num_res_blocks=1, norm_groups=0),
}
"""The published sizes, 110 M parameters each (d14_patchify 82 M), and `bundled`, that of the
trained checkpoint that ships with this package."""


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
