"""The VAR VQVAE as a tokenizer: maps images to uint16 codebook indices and back.

Shapes: B images, C channels, L codes over all scales, n codes of the first scale.
"""

from torch import Tensor

from filters.compute import Compute
from model.tokenizers.network_tokenizer import NetworkTokenizer
from model.tokenizers.protocol import Codes
from model.tokenizers.sizes import VarConfig
from model.tokenizers.var_network import VarNetwork
from model.tokenizers.var_quantizer import shrink


class VarVqvae(NetworkTokenizer):
    """A loaded VAR VQVAE; its config has the default schedule."""

    name = "var_vqvae"

    def __init__(
        self,
        network: VarNetwork,
        config: VarConfig,
        *,
        compute: Compute,
        checkpoint: str,
        checkpoint_sha256: str,
    ) -> None:
        super().__init__(
            network,
            config,
            schedule=config.schedule,
            compute=compute,
            checkpoint=checkpoint,
            checkpoint_sha256=checkpoint_sha256,
        )

    def next_scale_inputs(self, codes: Codes) -> Tensor:
        """Return the inputs of a next-scale model, float32 [B, L - n, C], on the device.

        The first scale has no inputs, because nothing precedes it.

        Raises:
            ValueError: codes have another schedule, or are out of range.
        """
        with self.compute.arithmetic():
            return self.passes.run(
                self.to_indices(codes),
                lambda codes_BL: self._network.quantize.next_scale_inputs(codes_BL, self.schedule),
            )

    def _quantize(self, features_BCHW: Tensor) -> Tensor:
        return self._network.quantize.encode(features_BCHW, self.schedule)

    def _summed(self, codes_BL: Tensor) -> Tensor:
        return self._network.quantize.summed_features(codes_BL, self.schedule)

    def _contribution(self, targets_BpK: Tensor, scale: int) -> Tensor:
        return self._network.quantize.contribution(targets_BpK.squeeze(-1), scale, self.schedule)

    def _scale_inputs(self, sum_BCHW: Tensor, scale: int) -> Tensor:
        return shrink(sum_BCHW, self.schedule[scale]).flatten(2).transpose(1, 2)

    def _packed(self, targets_BPK: Tensor) -> Tensor:
        return targets_BPK.squeeze(-1)
