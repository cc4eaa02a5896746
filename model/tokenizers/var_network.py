"""Sizes and weights of the VAR VQVAE (arXiv 2404.02905; FoundationVision/VAR, models/vqvae.py)."""

from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn

from model.tokenizers.conv_blocks import Decoder, Encoder
from model.tokenizers.protocol import Schedule
from model.tokenizers.var_quantizer import MultiScaleQuantizer

PATCH_NUMS: Final = {
    256: (1, 2, 3, 4, 5, 6, 8, 10, 13, 16),
    512: (1, 2, 3, 4, 6, 9, 13, 18, 24, 32),
}
"""Side of every scale, by image resolution in pixels (VAR, utils/arg_util.py)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VarConfig:
    """Size of a VAR VQVAE; the defaults are the published checkpoint's.

    Raises:
        ValueError: a vocabulary whose codes do not fit uint16.
    """

    vocab: int = 4096
    z_channels: int = 32
    ch: int = 160  # width of the highest resolution
    ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4)  # width of each level, in ch
    num_res_blocks: int = 2  # a level
    norm_groups: int | None = None  # of every norm; 0 for none, None for the published rule
    phis: int = 4  # convolutions shared by the scales; 1 for all, 0 for one a scale
    phi_strength: float = 0.5
    patch_nums: tuple[int, ...] = PATCH_NUMS[256]  # side of every scale, in codes

    def __post_init__(self) -> None:
        if self.vocab > 2**16:
            raise ValueError(f"codes are stored as uint16, a vocabulary of {self.vocab} overflows")

    @property
    def schedule(self) -> Schedule:
        """Height and width of every scale."""
        return tuple((side, side) for side in self.patch_nums)

    @property
    def stride(self) -> int:
        """Pixels a feature, on either axis."""
        return 2 ** (len(self.ch_mult) - 1)


PRESETS: Final = {
    "full": VarConfig(),
    "small": VarConfig(ch=32, ch_mult=(1, 1, 1, 1, 2), num_res_blocks=1),
    "bundled": VarConfig(ch=16, ch_mult=(1, 1, 2, 4, 5), num_res_blocks=1, norm_groups=0),
}
"""`full` is the published size (109 M parameters), `bundled` that of the trained checkpoint that
ships with this package, `small` (1.1 M) that of the golden data."""


class VarNetwork(nn.Module):
    """The weights, under the keys of the published checkpoint (`vae_ch160v4096z32.pth`)."""

    def __init__(self, config: VarConfig) -> None:
        super().__init__()
        z_channels = config.z_channels
        self.encoder = Encoder(
            ch=config.ch,
            ch_mult=config.ch_mult,
            num_res_blocks=config.num_res_blocks,
            z_channels=z_channels,
            attention=True,
            norm_groups=config.norm_groups,
        )
        self.decoder = Decoder(
            ch=config.ch,
            ch_mult=config.ch_mult,
            num_res_blocks=config.num_res_blocks,
            z_channels=z_channels,
            attention=True,
            norm_groups=config.norm_groups,
        )
        self.quantize = MultiScaleQuantizer(
            vocab=config.vocab,
            channels=z_channels,
            scales=len(config.patch_nums),
            phis=config.phis,
            strength=config.phi_strength,
        )
        self.quant_conv = nn.Conv2d(z_channels, z_channels, kernel_size=3, padding=1)
        self.post_quant_conv = nn.Conv2d(z_channels, z_channels, kernel_size=3, padding=1)

    def encode(self, images_B3HW: Tensor) -> Tensor:
        """Return the features that the quantizer reads, [B, z_channels, H / 16, W / 16]."""
        return self.quant_conv(self.encoder(images_B3HW))

    def decode(self, features_BCHW: Tensor) -> Tensor:
        """Return images [B, 3, 16 H, 16 W] of quantized features, unclamped."""
        return self.decoder(self.post_quant_conv(features_BCHW))
