"""Decoding of one image per sequence, scale by scale, with the caches of both transformers.

Shapes: B sequences, n positions of a scale, D channels of the codes, H hidden width, U logits.
"""

import torch
from torch import Tensor

from model.tokenizers.protocol import Schedule, count_codes
from model.vargpt.conditioning import Condition
from model.vargpt.decoder import DecoderCache
from model.vargpt.sampling import guide
from model.vargpt.stream import Stream
from model.vargpt.vargpt import Vargpt


class ImageDecoding:
    """The decoding of images that start at the end of a text stream, after the start mark.

    Args:
        model: in evaluation mode.
        stream: the stream of the text; images are fed to it.
        drawing_B: bool, the sequences that generate an image.
        schedule: of the images.
        guidance: strength; 1 for none.
    """

    def __init__(
        self,
        model: Vargpt,
        stream: Stream,
        drawing_B: Tensor,
        schedule: Schedule,
        guidance: float = 1.0,
    ) -> None:
        self._model, self._schedule, self._guidance = model, schedule, guidance
        self._drawing_B = drawing_B
        self._scale = 0
        halves = [_Half(model, stream, drawing_B, _condition(model, stream, drawing_B, False))]
        if guidance != 1.0:
            condition = _condition(model, stream, drawing_B, True)
            halves.append(_Half(model, stream.beside(), drawing_B, condition, without=True))
        self._halves = halves
        self._condition = halves[0].condition
        for other in halves[1:]:
            self._condition = self._condition.and_also(other.condition)
        self._cache = DecoderCache(model.config.decoder.depth)

    def logits(self, inputs_BnD: Tensor | None) -> Tensor:
        """Return the guided logits of the next scale, [B, n, U].

        Args:
            inputs_BnD: next-scale inputs of the scale; None for the first scale.
        """
        model, scale = self._model, self._scale
        x_MnC = torch.cat([half.step(inputs_BnD) for half in self._halves])
        logits_MnU = model.decoder(x_MnC, self._condition, self._schedule, scale, self._cache)
        self._scale += 1
        if len(self._halves) == 1:
            return logits_MnU
        with_context, without = logits_MnU.chunk(2)
        return guide(with_context, without, self._guidance)

    def finish(self) -> None:
        """Feed the remaining pads, if the image has more pads than positions."""
        count = count_codes(self._schedule)
        missing = self._model.config.pads(count) - count
        if missing:
            width = self._model.config.decoder.width
            empty_BnC = torch.zeros(len(self._drawing_B), missing, width).to(
                self._model.decoder.head.weight
            )
            self._halves[0].feed(empty_BnC)


class _Half:
    """The images with context, or the same images without context, in the language model."""

    def __init__(
        self,
        model: Vargpt,
        stream: Stream,
        drawing_B: Tensor,
        condition: Condition,
        without: bool = False,
    ) -> None:
        self.condition = condition
        self._model, self._stream, self._drawing_B = model, stream, drawing_B
        self._without = without

    def step(self, inputs_BnD: Tensor | None) -> Tensor:
        """Return the decoder's inputs of a scale, [B, n, C]."""
        decoder, together = self._model.decoder, self._model.config.within_scale == "all"
        if inputs_BnD is None:
            return self.feed(decoder.first_inputs(self._drawing_B & self._without))
        if self._without and not decoder.conditioning.isolates:
            # The released code runs this half without a cache, each scale on its own.
            self._stream = self._stream.beside()
        x_BnC = decoder.word_embed(inputs_BnD.to(decoder.word_embed.weight.dtype))
        return self.feed(x_BnC, together)

    def feed(self, x_BnC: Tensor, together: bool = False) -> Tensor:
        """Pass positions through the input projector, the language model and the output one."""
        model = self._model
        used_Bn = self._drawing_B[:, None].expand(-1, x_BnC.shape[1])
        hidden_BnH = self._stream.feed(model.projector_in(x_BnC), used_Bn, together=together)
        return model.projector_out(hidden_BnH)


def _condition(model: Vargpt, stream: Stream, drawing_B: Tensor, without: bool) -> Condition:
    """Return the condition of images: all tokens before the start mark."""
    hidden_BSH, used_BS = stream.history()
    slots = torch.arange(used_BS.shape[1], device=used_BS.device)
    last_B = (used_BS * slots).amax(dim=1)
    # Sequences without an image are in the batch too, and must see something.
    seen_BS = (used_BS & (slots < last_B[:, None])) | ~drawing_B[:, None]
    context_BSC = model.projector_out(hidden_BSH)
    if without:
        return model.decoder.conditioning.unconditioned(context_BSC, seen_BS)
    return model.decoder.conditioning(context_BSC, seen_BS, torch.zeros_like(drawing_B))
