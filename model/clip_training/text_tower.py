"""The second part of the training: the text tower alone, with the images' embeddings fixed.

An image then costs nothing, so the text tower sees many more texts, and learns where words belong
that are in no title: at the images of those titles that a sentence encoder finds similar.

Shapes: N images, S subjects, T texts, C the width of CLIP's embeddings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from model.clip_training.network import bound_scale
from model.clip_training.teacher import Lessons
from model.image_text.batches import Batches
from model.image_text.pairs import Pair

AT_ONCE: Final = 128  # images
SHARPNESS: Final = 0.07  # of the weights of similar titles; 0.03 to 0.1 find about as much


@dataclass(frozen=True, kw_only=True, slots=True)
class TextPlan:
    """The settings of the second part."""

    steps: int
    batch: int = 64  # captions of images
    words: int = 320  # texts of the teacher per step
    words_weight: float = 4.0  # of their loss
    lr: float = 1e-3  # the highest rate
    warmup: int = 20  # steps
    weight_decay: float = 0.01
    ema: float = 0.98
    seed: int = 1
    save_every: int = 50

    @property
    def cosine_steps(self) -> int:
        """Steps until the learning rate would be 1 %."""
        return self.steps


class TextTower(nn.Module):
    """CLIP's loss of fixed images and captions, and a loss of the places of words.

    Args:
        clip: open_clip's CLIP, after the first part; its image tower is fixed.
        tokenizer: of texts.
        plan: the plan.
        batches: of the pairs.
        image_NC: the embeddings of the pairs' images, of length 1.
        lessons: texts of a teacher.
        targets_TC: the places of these texts, as `places` returns them.
    """

    def __init__(
        self,
        clip: Any,
        tokenizer: Callable[[list[str]], Tensor],
        plan: TextPlan,
        batches: Batches,
        image_NC: Tensor,
        lessons: Lessons,
        targets_TC: Tensor,
    ) -> None:
        from open_clip.loss import ClipLoss

        super().__init__()
        self.clip = clip.eval()
        self.clip.visual.requires_grad_(False)
        self._loss, self._tokenizer, self._plan = ClipLoss(), tokenizer, plan
        self._batches, self._image_NC = batches, image_NC
        self._lessons, self._targets_TC = lessons, targets_TC

    def forward(self, step: int) -> dict[str, Tensor]:
        """Return the losses of a step."""
        numbers, captions = self._batches.captions(step)
        texts, places = self._lessons.batch(step, self._plan.words)
        text_BC = self.clip.encode_text(self._tokenizer([*captions, *texts]), normalize=True)
        of_captions, of_words = text_BC.split([len(captions), len(texts)])
        matching = self._loss(self._image_NC[numbers], of_captions, self.clip.logit_scale.exp())
        cosine_B = (of_words * self._targets_TC[places]).sum(dim=1)
        return {"loss": matching, "words": self._plan.words_weight * (1 - cosine_B.mean())}

    def bound(self) -> None:
        """Keep the scale of the logits within CLIP's bounds."""
        bound_scale(self.clip)


@torch.no_grad()
def embed_images(
    clip: Any, images: Sequence[NDArray[np.uint8]], *, mean: float, std: float
) -> Tensor:
    """Return the embeddings of whole images, of length 1, float32 [N, C]."""
    size = clip.visual.image_size
    side = size if isinstance(size, int) else size[0]
    clip.eval()
    found: list[Tensor] = []
    for start in range(0, len(images), AT_ONCE):
        batch = torch.from_numpy(np.stack(images[start : start + AT_ONCE])).permute(0, 3, 1, 2)
        x = F.interpolate(batch.float() / 255, (side, side), mode="bicubic", antialias=True)
        x = (x.clamp(0, 1) - mean) / std
        x = x.contiguous(memory_format=torch.channels_last)
        found.append(clip.encode_image(x, normalize=True))
    return torch.cat(found)


def places(pairs: Sequence[Pair], image_NC: Tensor, lessons: Lessons) -> Tensor:
    """Return the place of each text of the teacher among the images, of length 1, [T, C].

    It is the mean of the subjects' images, weighted by the teacher's similarity of text and
    subject, less the mean of all: which is the same for all texts and says nothing.

    Args:
        pairs: whose subjects are among the texts.
        image_NC: of the pairs.
        lessons: of the teacher.
    """
    subjects = sorted({pair.subject for pair in pairs})
    number = {subject: place for place, subject in enumerate(subjects)}
    of_N = torch.tensor([number[pair.subject] for pair in pairs])
    sums_SC = torch.zeros(len(subjects), image_NC.shape[1]).index_add(0, of_N, image_NC)
    centre_SC = F.normalize(sums_SC, dim=-1)
    text = {text: place for place, text in enumerate(lessons.texts)}
    subject_SE = lessons.embeddings_TE[[text[subject] for subject in subjects]]
    similar = (
        torch.softmax(batch @ subject_SE.T / SHARPNESS, dim=-1) @ centre_SC
        for batch in lessons.embeddings_TE.split(1024)
    )
    return F.normalize(torch.cat([*similar]) - centre_SC.mean(dim=0), dim=-1)
