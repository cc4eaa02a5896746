"""What the training of the captioner makes small, and its settings.

Shapes: B images of a step, s their side, T tokens of the longest caption, N images, C the width of
CLIP's embeddings, L places of the encoder, D its width, V tokens of the vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from model.captioner_training.network import MAX_TOKENS, SIDE, STD, WHITE
from model.image_text.batches import Batches

NO_TOKEN: Final = -100  # past the end of a caption; cross_entropy leaves it out


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionerPlan:
    """The settings of the training, without its images.

    It ends when 8/11 of the cosine of its learning rate are done: the averaged weights, which are
    used, do much of what the end of the cosine would do.
    """

    steps: int
    batch: int = 64
    lr: float = 1e-3  # the highest rate
    warmup: int = 100  # steps
    weight_decay: float = 0.05
    ema: float = 0.998  # share of the averaged weights kept at each step
    seed: int = 0
    save_every: int = 100  # steps
    smoothing: float = 0.1  # of the wanted tokens
    clip_weight: float = 4.0  # of the loss of the encoder against CLIP's embeddings

    @property
    def cosine_steps(self) -> int:
        """Steps until the learning rate would be 1 %."""
        return self.steps * 11 // 8


class Captioning(nn.Module):
    """Cross-entropy of the captions, and the distance of the encoder from CLIP's embeddings.

    Args:
        captioner: of `network.make_captioner`.
        plan: the plan.
        batches: of the pairs.
        images: of the pairs, uint8 [S, S, 3].
        tokens_N: of each pair's caption, its end included.
        clip_NC: CLIP's embeddings of the images, unchanged, of length 1.
    """

    def __init__(
        self,
        captioner: Any,
        plan: CaptionerPlan,
        batches: Batches,
        images: Sequence[NDArray[np.uint8]],
        tokens_N: Sequence[Sequence[int]],
        clip_NC: Tensor,
    ) -> None:
        super().__init__()
        self.captioner = captioner
        self._plan, self._batches, self._images = plan, batches, images
        self._tokens_N = [torch.tensor(tokens[:MAX_TOKENS]) for tokens in tokens_N]
        self._clip_NC = clip_NC
        # From the encoder's first place to CLIP's embeddings; only training needs it.
        self.to_clip = nn.Linear(captioner.encoder.config.hidden_size, clip_NC.shape[1])

    def forward(self, step: int) -> dict[str, Tensor]:
        """Return the losses of a step."""
        self.captioner.train()
        torch.manual_seed(self._plan.seed * 1_000_003 + step)  # of dropout
        numbers, _ = self._batches.captions(step)
        pixels_B3ss = pixels_of(self._batches.images(self._images, numbers, step, SIDE))
        places_BLD = self.captioner.encoder(pixel_values=pixels_B3ss).last_hidden_state
        wanted_BC = self._clip_NC[numbers]
        near = F.cosine_similarity(self.to_clip(places_BLD[:, 0]), wanted_BC).mean()
        return {
            "loss": self._of_words(places_BLD, numbers),
            "clip": self._plan.clip_weight * (1 - near),
        }

    def _of_words(self, places_BLD: Tensor, numbers: Sequence[int]) -> Tensor:
        wanted_BT = nn.utils.rnn.pad_sequence(
            [self._tokens_N[number] for number in numbers], batch_first=True, padding_value=NO_TOKEN
        )
        start = self.captioner.config.decoder_start_token_id
        given_BT = F.pad(wanted_BT, (1, -1), value=start)
        logits_BTV = self.captioner.decoder(
            input_ids=given_BT.masked_fill(given_BT == NO_TOKEN, start),
            encoder_hidden_states=places_BLD,
        ).logits
        is_token_BT = wanted_BT != NO_TOKEN
        return F.cross_entropy(
            logits_BTV[is_token_BT],
            wanted_BT[is_token_BT],
            label_smoothing=self._plan.smoothing,
        )

    def bound(self) -> None:
        """No weight has bounds."""


def pixels_of(images_B3ss: Tensor) -> Tensor:
    """Return what the encoder reads of images in [0, 1], as the image processor makes it."""
    return ((images_B3ss - WHITE) / STD).contiguous(memory_format=torch.channels_last)
