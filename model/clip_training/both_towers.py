"""The first part of the training: both towers, by CLIP's loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.clip_training.network import bound_scale
from model.clip_training.teacher import Lessons
from model.image_text.batches import Batches


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipPlan:
    """The settings of the first part, without its images.

    It ends when 7/12 of the cosine of its learning rate are done: the averaged weights, which are
    used, do what the end of the cosine would do.
    """

    steps: int
    batch: int = 256
    lr: float = 1e-3  # the highest rate
    weight_decay: float = 0.2
    ema: float = 0.998  # share of the averaged weights kept at each step
    seed: int = 0
    save_every: int = 50  # steps
    lesson: int = 128  # texts of the teacher per step
    lesson_weight: float = 2.0  # of their loss

    @property
    def cosine_steps(self) -> int:
        """Steps until the learning rate would be 1 %."""
        return self.steps * 12 // 7

    @property
    def warmup(self) -> int:
        """Steps until the highest learning rate."""
        return self.cosine_steps // 10


class BothTowers(nn.Module):
    """CLIP's loss of images and captions, and a loss of a teacher's embeddings of texts.

    Args:
        clip: open_clip's CLIP.
        tokenizer: of texts.
        plan: the plan.
        batches: of the pairs.
        images: of the pairs, uint8 [S, S, 3].
        mean, std: of the pixels that the network is given, as in its preprocessing.
        lessons: of a teacher of English; None for none.
    """

    def __init__(
        self,
        clip: Any,
        tokenizer: Callable[[list[str]], Tensor],
        plan: ClipPlan,
        batches: Batches,
        images: Sequence[NDArray[np.uint8]],
        *,
        mean: float,
        std: float,
        lessons: Lessons | None = None,
    ) -> None:
        from open_clip.loss import ClipLoss

        super().__init__()
        self.clip = clip
        self._loss, self._tokenizer, self._plan = ClipLoss(), tokenizer, plan
        self._batches, self._images, self._lessons = batches, images, lessons
        self._mean, self._std = mean, std
        side = clip.visual.image_size
        self._side: int = side if isinstance(side, int) else side[0]
        torch.manual_seed(plan.seed)
        # From the embeddings of texts to the teacher's; only training needs it.
        self.to_teacher = (
            nn.Linear(clip.text_projection.shape[1], lessons.embeddings_TE.shape[1])
            if lessons
            else None
        )

    def forward(self, step: int) -> dict[str, Tensor]:
        """Return the losses of a step."""
        self.clip.train()
        numbers, captions = self._batches.captions(step)
        images_B3ss = self._batches.images(self._images, numbers, step, self._side)
        images_B3ss = (images_B3ss - self._mean) / self._std
        image_BC = self.clip.encode_image(
            images_B3ss.contiguous(memory_format=torch.channels_last), normalize=True
        )
        text_BC = self.clip.encode_text(self._tokenizer(captions), normalize=True)
        matching = self._loss(image_BC, text_BC, self.clip.logit_scale.exp())
        if self._lessons is None or self.to_teacher is None:
            return {"loss": matching}
        lesson = self._lesson_loss(self._lessons, self.to_teacher, step)
        return {"loss": matching, "lesson": self._plan.lesson_weight * lesson}

    def _lesson_loss(self, lessons: Lessons, to_teacher: nn.Module, step: int) -> Tensor:
        """Return one minus the mean cosine with the teacher's embeddings."""
        texts, numbers = lessons.batch(step, self._plan.lesson)
        found_BE = to_teacher(self.clip.encode_text(self._tokenizer(texts)))
        wanted_BE = lessons.embeddings_TE[numbers]
        return 1 - nn.functional.cosine_similarity(found_BE, wanted_BE).mean()

    def bound(self) -> None:
        """Keep the scale of the logits within CLIP's bounds."""
        bound_scale(self.clip)
