"""Weights of the VAR VQVAE (arXiv 2404.02905; FoundationVision/VAR, models/vqvae.py)."""

from torch import Tensor, nn

from model.tokenizers.conv_blocks import Decoder, Encoder
from model.tokenizers.sizes import VarConfig
from model.tokenizers.var_quantizer import MultiScaleQuantizer


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
        """Return the features for the quantizer, [B, z_channels, H / 16, W / 16]."""
        return self.quant_conv(self.encoder(images_B3HW))

    def decode(self, features_BCHW: Tensor) -> Tensor:
        """Return images [B, 3, 16 H, 16 W] of quantized features, unclamped."""
        return self.decoder(self.post_quant_conv(features_BCHW))
