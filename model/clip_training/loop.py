"""The training loop of CLIP: contrastive loss, resumes after a kill, returns averaged weights.

On a CPU a killed and resumed run ends with the same bytes as an uninterrupted one: batches,
learning rate and random numbers depend on the seed and the step alone.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.clip_training.augment import augment
from model.clip_training.pairs import Pair, caption
from model.clip_training.teacher import Lessons
from model.tokenizer_training.loop import Averaged
from model.tokenizer_training.plan import warm_cosine
from model.tokenizer_training.state import (
    STATE,
    DivergedError,
    State,
    StateError,
    read_state,
    write_state,
)
from schemas.keys import draw, rank

REPORT_EVERY: Final = 20  # steps
SCALE_MOST: Final = math.log(100)  # of the logits, as in CLIP
# Images of these words are not mirrored: their mirror image is something else.
ONE_WAY: Final = frozenset(
    {"left", "right", "arrow", "flag", "letter", "number", "digit", "keycap", "clock", "button"}
    | {"sign", "symbol", "text", "latin", "map", "semaphore"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipPlan:
    """The settings of a training run, without its images."""

    steps: int
    batch: int = 256
    lr: float = 1e-3  # the highest rate
    warmup: int = 200  # steps
    weight_decay: float = 0.2
    ema: float = 0.998  # share of the averaged weights kept at each step
    seed: int = 0
    save_every: int = 50  # steps
    lesson: int = 128  # texts of the teacher per step
    lesson_weight: float = 2.0  # of their loss


class Batches:
    """Batches of images and captions, decided by the number of the step alone.

    An epoch has one image of each subject, so that no batch calls a picture of a cat wrong for
    another's title "cat", and 1,375 stars weigh as much as one cat.
    """

    def __init__(
        self, pairs: Sequence[Pair], images: Sequence[NDArray[np.uint8]], plan: ClipPlan
    ) -> None:
        self._pairs, self._images, self._plan = pairs, images, plan
        subjects: defaultdict[str, list[int]] = defaultdict(list)
        for number, pair in enumerate(pairs):
            subjects[pair.subject].append(number)
        self._subjects = sorted(subjects.items())
        self.subjects = len(self._subjects)
        self.steps_an_epoch = max(1, len(self._subjects) // plan.batch)
        self._order = lru_cache(maxsize=1)(self._ordered)

    def __call__(self, step: int, side: int) -> tuple[Tensor, list[str]]:
        """Return images in [0, 1], float32 [B, 3, side, side], and their captions."""
        epoch, place = divmod(step, self.steps_an_epoch)
        chosen = self._order(epoch)[place * self._plan.batch :][: self._plan.batch]
        pairs = [self._pairs[number] for number in chosen]
        images_B3SS = torch.from_numpy(np.stack([self._images[n] for n in chosen])).permute(
            0, 3, 1, 2
        )
        flip_B = torch.tensor([ONE_WAY.isdisjoint(pair.subject.split()) for pair in pairs])
        generator = torch.Generator().manual_seed(self._plan.seed * 1_000_003 + step)
        images = augment(images_B3SS, flip_B, side, generator)
        return images, [caption(pair, epoch) for pair in pairs]

    def _ordered(self, epoch: int) -> list[int]:
        salt = f"{self._plan.seed} epoch {epoch}"
        ordered = sorted(self._subjects, key=lambda subject: rank(subject[0], salt))
        return [numbers[draw(name, salt, len(numbers))] for name, numbers in ordered]


class Trainee(nn.Module):
    """A CLIP, with a layer from its texts' embeddings to a teacher's, which only training needs."""

    def __init__(self, clip: Any, teacher_width: int) -> None:
        super().__init__()
        self.clip = clip
        width = clip.text_projection.shape[1]
        self.to_teacher = nn.Linear(width, teacher_width) if teacher_width else None


def clip_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the CLIP among those of a `Trainee`."""
    prefix = "clip."
    return {key.removeprefix(prefix): x for key, x in weights.items() if key.startswith(prefix)}


class ClipTrainer:
    """Runs a plan, and resumes from a state in `folder`.

    Args:
        clip: open_clip's CLIP; trained in place.
        tokenizer: of texts.
        plan: the plan.
        batches: returns the images and captions of a step.
        mean, std: of the pixels that the network is given, as in its preprocessing.
        folder: local folder of the state.
        fingerprint: of the plan, the network and the images; a state with another is refused.
        lessons: of a teacher of English; None for none.
        report: called every `REPORT_EVERY` steps with their figures and the seconds so far.
        each_save: called with the averaged weights after each save.
    """

    def __init__(
        self,
        clip: Any,
        tokenizer: Callable[[list[str]], Tensor],
        plan: ClipPlan,
        batches: Callable[[int, int], tuple[Tensor, list[str]]],
        *,
        mean: float,
        std: float,
        folder: Path,
        fingerprint: str,
        lessons: Lessons | None = None,
        report: Callable[[dict[str, float], float], None] = lambda figures, seconds: None,
        each_save: Callable[[int, dict[str, Tensor]], None] = lambda step, weights: None,
    ) -> None:
        from open_clip.loss import ClipLoss

        self._lessons = lessons
        torch.manual_seed(plan.seed)
        self.network = Trainee(clip, lessons.embeddings_TE.shape[1] if lessons else 0).train()
        self._clip = clip
        self._loss = ClipLoss()
        self._tokenizer, self._plan, self._batches = tokenizer, plan, batches
        self._mean, self._std = mean, std
        side = clip.visual.image_size
        self._side: int = side if isinstance(side, int) else side[0]
        self._state = folder / STATE
        self._fingerprint = fingerprint
        self._report, self._each_save = report, each_save
        self._optimizer = torch.optim.AdamW(
            _weight_groups(self.network, plan.weight_decay), lr=plan.lr, betas=(0.9, 0.98), eps=1e-6
        )
        self._averaged = Averaged(self.network, plan.ema)
        self.step = 0
        self.seconds = 0.0
        self.curve: list[dict[str, float]] = []  # every REPORT_EVERY steps

    def run(self) -> dict[str, Tensor]:
        """Train to the end of the plan, save, and return the averaged weights.

        Raises:
            StateError: the folder holds the state of another run.
            DivergedError: a loss or gradient is not finite; the last state remains.
        """
        self._load()
        while self.step < self._plan.steps:
            self._train()
            if self.step % self._plan.save_every == 0:
                self._save()
        self._save()
        return self._averaged.state

    def _train(self) -> None:
        started = time.monotonic()
        images_B3ss, captions = self._batches(self.step, self._side)
        images_B3ss = (images_B3ss - self._mean) / self._std
        image_BC = self._clip.encode_image(
            images_B3ss.contiguous(memory_format=torch.channels_last), normalize=True
        )
        text_BC = self._clip.encode_text(self._tokenizer(captions), normalize=True)
        matching = self._loss(image_BC, text_BC, self._clip.logit_scale.exp())
        lesson = self._lesson_loss()
        loss = matching + self._plan.lesson_weight * lesson
        self._check("loss", loss)
        for group in self._optimizer.param_groups:
            group["lr"] = warm_cosine(
                self.step, steps=self._plan.steps, warmup=self._plan.warmup, lr=self._plan.lr
            )
        self._optimizer.zero_grad()
        loss.backward()
        self._check("gradient", nn.utils.clip_grad_norm_(self.network.parameters(), 1.0))
        self._optimizer.step()
        with torch.no_grad():
            self._clip.logit_scale.clamp_(0, SCALE_MOST)
        self.step += 1
        self._averaged.update(self.network, self.step)
        self.seconds += time.monotonic() - started
        if self.step % REPORT_EVERY == 0:
            right = (image_BC @ text_BC.T).argmax(dim=1) == torch.arange(len(image_BC))
            found = {
                "step": self.step,
                "loss": round(matching.item(), 4),
                "lesson": round(lesson.item(), 4),
                "batch_r1": round(right.float().mean().item(), 4),
                "scale": round(self._clip.logit_scale.exp().item(), 2),
            }
            self.curve.append(found)
            self._report(found, self.seconds)

    def _lesson_loss(self) -> Tensor:
        """Return one minus the mean cosine with the teacher's embeddings."""
        if self._lessons is None or self.network.to_teacher is None:
            return torch.zeros(())
        texts, embeddings_BE = self._lessons.batch(self.step, self._plan.lesson)
        found_BE = self.network.to_teacher(self._clip.encode_text(self._tokenizer(texts)))
        return 1 - nn.functional.cosine_similarity(found_BE, embeddings_BE).mean()

    def _check(self, what: str, value: Tensor) -> None:
        if not torch.isfinite(value):
            raise DivergedError(
                f"step {self.step}: the {what} is {value.item()}. The same command would fail "
                "again: try a lower learning rate in another folder"
            )

    def _save(self) -> None:
        state = State(
            fingerprint=self._fingerprint,
            step=self.step,
            seconds=self.seconds,
            network=self.network.state_dict(),
            averaged=self._averaged.state,
            optimizer=self._optimizer.state_dict(),
            curve=self.curve,
        )
        write_state(self._state, state)
        self._each_save(self.step, self._averaged.state)

    def _load(self) -> None:
        if not self._state.exists():
            return
        state = read_state(self._state)
        if state.fingerprint != self._fingerprint:
            raise StateError(
                f"{self._state}: made with another plan, network or other images; remove it to "
                "start again, or name another folder"
            )
        self.step, self.seconds, self.curve = state.step, state.seconds, state.curve
        self.network.load_state_dict(state.network)
        self._averaged.state = state.averaged
        self._optimizer.load_state_dict(state.optimizer)


def _weight_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return groups of weights: matrices decay, biases, norms and the scale do not."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    return [
        {"params": [w for w in weights if w.ndim >= 2], "weight_decay": weight_decay},
        {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0},
    ]
