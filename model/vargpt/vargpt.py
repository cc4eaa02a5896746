"""VARGPT: a language model that reads images, and generates them scale by scale.

The next-scale inputs of an image go through `projector_in` into the language model. Its output goes
through `projector_out` into the visual decoder, which attends to the language model's output for
all tokens before the image and returns the logits of the codes.
Source: VARGPT-v1.1 (arXiv 2504.02949); docs/reference/vargpt.md lists the differences.

Shapes: B sequences, S positions, N generated images, L positions of an image, P pads of an image in
the text, C decoder width, H hidden width, T text targets, U logits per position, V vocabulary.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.data.batch import IGNORED, Batch
from model.tokenizers.protocol import count_codes
from model.vargpt.backbone import Backbone, backbone_config
from model.vargpt.check import check_batch
from model.vargpt.conditioning import Condition
from model.vargpt.config import VargptConfig
from model.vargpt.decoder import Decoder
from model.vargpt.masks import scale_of, text_mask
from model.vargpt.projectors import Projector

if TYPE_CHECKING:
    from transformers import Qwen2VLForConditionalGeneration


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Output:
    """The result of a forward pass; text positions without a target have no logits."""

    image_logits_NLU: Tensor
    text_logits_TV: Tensor
    text_targets_T: Tensor  # int64
    text_rows_T: Tensor  # int64; the sequence of each text target


class Vargpt(nn.Module):
    """The whole model.

    Args:
        config: sizes and choices.
        qwen: the language model with weights, of the configured sizes; None for random weights.
    """

    def __init__(
        self, config: VargptConfig, qwen: "Qwen2VLForConditionalGeneration | None" = None
    ) -> None:
        super().__init__()
        hidden, width = config.backbone.hidden, config.decoder.width
        self.config = config
        self.backbone = Backbone(config.backbone, qwen)
        self.projector_in = Projector(width, hidden, config.projector_norm)
        self.projector_out = Projector(hidden, width, config.projector_norm)
        self.decoder = Decoder(config.decoder, config.codes, config.conditioning)

    @classmethod
    def around(cls, qwen: "Qwen2VLForConditionalGeneration", config: VargptConfig) -> Self:
        """Build a model with any Qwen2-VL, whose sizes replace the config's backbone."""
        return cls(replace(config, backbone=backbone_config(qwen.config)), qwen)

    def forward(self, batch: Batch, without_N: Tensor | None = None) -> Output:
        """Return the logits of every code and of every text target.

        Args:
            batch: on the model's device.
            without_N: bool, images without context (for classifier-free guidance); None for none.
                The caller chooses them by key: see guidance.py.

        Raises:
            ValueError: the batch does not fit the model; shows both sides.
        """
        check_batch(batch, self.config)
        if without_N is None:
            without_N = torch.zeros_like(batch.image_rows_N, dtype=torch.bool)
        hidden_BSH = self._language(batch, without_N)
        targets_BS = batch.labels_BS[:, 1:]
        here_BS = targets_BS != IGNORED
        return Output(
            image_logits_NLU=self._image_logits(batch, hidden_BSH, without_N),
            text_logits_TV=self.backbone.text_logits(hidden_BSH[:, :-1][here_BS]),
            text_targets_T=targets_BS[here_BS],
            text_rows_T=here_BS.nonzero()[:, 0],
        )

    def _language(self, batch: Batch, without_N: Tensor) -> Tensor:
        grid = batch.image_grid_thw if self.config.image_positions == "grid" else None
        embeds_BSH = self.backbone.embed(
            batch.input_ids_BS, batch.pixel_values, batch.image_grid_thw
        )
        if len(without_N):
            where = self._where(batch, self.config.pads(count_codes(batch.schedule)))
            images_NPH = self.projector_in(self._image_inputs(batch, without_N))
            embeds_BSH = embeds_BSH.index_put(where, images_NPH.to(embeds_BSH.dtype))
        positions_3BS = self.backbone.positions(batch.input_ids_BS, batch.attention_mask_BS, grid)
        return self.backbone(embeds_BSH, positions_3BS, self._mask(batch, without_N))

    def _image_inputs(self, batch: Batch, without_N: Tensor) -> Tensor:
        first_N1C = self.decoder.first_inputs(without_N)
        rest = self.decoder.word_embed(batch.inputs_NLD.to(self.decoder.word_embed.weight.dtype))
        x_NLC = torch.cat([first_N1C.to(rest.dtype), rest], dim=1)
        return F.pad(x_NLC, (0, 0, 0, self.config.pads(x_NLC.shape[1]) - x_NLC.shape[1]))

    def _mask(self, batch: Batch, without_N: Tensor) -> Tensor | None:
        isolated_N = without_N & self.decoder.conditioning.isolates
        together = self.config.within_scale == "all" and len(without_N) > 0
        if not together and not isolated_N.any():
            # Only padding sees right padding. On CUDA this is the fastest kernel.
            return None
        return text_mask(
            batch.attention_mask_BS,
            batch.image_rows_N,
            batch.image_starts_N,
            pads=self.config.pads(count_codes(batch.schedule)),
            scale_L=scale_of(batch.schedule, without_N.device) if together else None,
            alone_N=isolated_N,
        )

    def _image_logits(self, batch: Batch, hidden_BSH: Tensor, without_N: Tensor) -> Tensor:
        if not len(without_N):
            return hidden_BSH.new_zeros(0, count_codes(batch.schedule), self.config.codes.logits)
        rows_N1, at_NL = self._where(batch, count_codes(batch.schedule))
        x_NLC = self.projector_out(hidden_BSH[rows_N1, at_NL])
        return self.decoder(x_NLC, self._condition(batch, hidden_BSH, without_N), batch.schedule)

    def _condition(self, batch: Batch, hidden_BSH: Tensor, without_N: Tensor) -> Condition:
        """Return each image's condition: all tokens before its start mark."""
        length_N = batch.image_starts_N - 1
        longest = int(length_N.max())
        seen_NT = torch.arange(longest, device=length_N.device) < length_N[:, None]
        context_NTC = self.projector_out(hidden_BSH[:, :longest][batch.image_rows_N])
        return self.decoder.conditioning(context_NTC, seen_NT, without_N)

    def _where(self, batch: Batch, count: int) -> tuple[Tensor, Tensor]:
        """Return the sequences [N, 1] and positions [N, count] of the images, as an index."""
        steps = torch.arange(count, device=batch.image_starts_N.device)
        return batch.image_rows_N[:, None], batch.image_starts_N[:, None] + steps
