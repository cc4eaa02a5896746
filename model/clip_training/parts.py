"""Both parts of the training, one after the other: both towers, then the text tower alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.clip_training.both_towers import BothTowers, ClipPlan
from model.clip_training.network import ClipSizes, clip_config, make_clip, text_tokenizer
from model.clip_training.teacher import Lessons, lesson_texts, lessons
from model.clip_training.text_tower import TextPlan, TextTower, embed_images, places
from model.image_text.batches import Batches
from model.image_text.loop import Objective, PartTrainer, Settings
from model.image_text.pairs import Pair
from model.image_text.weights import weights_of
from model.tokenizer_training.state import STATE
from schemas.fingerprint import fingerprint

if TYPE_CHECKING:
    from open_clip import CLIP

TEXT_STATE: Final = "text.pt"  # of the second part

Report = Callable[[str, dict[str, float], float], None]
"""(name of the part, step and losses, seconds) -> None."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """A trained CLIP."""

    weights: Mapping[str, Tensor]
    curves: Mapping[str, Sequence[Mapping[str, float]]]  # name of a part -> its losses
    seconds: float  # of training alone


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """The training of a CLIP, with all that decides it."""

    sizes: ClipSizes
    first: ClipPlan
    second: TextPlan  # done with a teacher only
    pairs: Sequence[Pair]
    images: Sequence[NDArray[np.uint8]]  # of the pairs, [S, S, 3]
    teacher: str  # folder or name of a sentence encoder; "" for none
    folder: Path  # local; has the files of `network.write_folder`

    def run(self, report: Report) -> Trained:
        """Train, or resume from the states in the folder.

        Raises:
            SettingsError: there is no such teacher.
            StateError: the folder holds the state of another run.
            DivergedError: a loss or gradient is not finite; the last state remains.
        """
        taught = self._lessons()
        clip = make_clip(self.sizes, self.first.seed)
        first = self._part("both towers", self._both_towers(clip, taught), self.first, report)
        if taught is None:
            return first
        clip.load_state_dict(dict(first.weights))
        second = self._part("text tower", self._text_tower(clip, taught), self.second, report)
        return Trained(
            weights=second.weights,
            curves={**first.curves, **second.curves},
            seconds=first.seconds + second.seconds,
        )

    def _lessons(self) -> Lessons | None:
        if not self.teacher:
            return None
        return lessons(lesson_texts(self.pairs, self.teacher), self.teacher, self.folder)

    @property
    def plan(self) -> str:
        """Both plans, for the card."""
        first, second = self.first, self.second
        said = f"{first.steps:,} steps of {first.batch} images with captions, learning rate "
        said += f"{first.lr}"
        if self.teacher:
            said += f"; then {second.steps:,} steps of the text tower alone, of {second.batch} "
            said += f"captions and {second.words} words"
        return said

    def _part(self, name: str, objective: Objective, settings: Settings, report: Report) -> Trained:
        trainer = PartTrainer(
            objective,
            settings,
            state=self.folder / (STATE if settings is self.first else TEXT_STATE),
            fingerprint=self._fingerprint(settings),
            report=lambda losses, seconds: report(name, losses, seconds),
        )
        weights = weights_of("clip", trainer.run())
        return Trained(weights=weights, curves={name: trainer.curve}, seconds=trainer.seconds)

    def _fingerprint(self, settings: Settings) -> str:
        pairs = [repr(pair) for pair in self.pairs]
        first = fingerprint(repr(self.sizes), repr(self.first), pairs, self.teacher)
        return first if settings is self.first else fingerprint(first, repr(settings))

    def _both_towers(self, clip: "CLIP", taught: Lessons | None) -> BothTowers:
        return BothTowers(
            clip,
            text_tokenizer(self.folder),
            self.first,
            Batches(self.pairs, self.first.batch, self.first.seed),
            self.images,
            lessons=taught,
            **self._pixels,
        )

    def _text_tower(self, clip: "CLIP", taught: Lessons) -> TextTower:
        image_NC = embed_images(clip, self.images, **self._pixels)
        return TextTower(
            clip,
            text_tokenizer(self.folder),
            self.second,
            Batches(self.pairs, self.second.batch, self.second.seed),
            image_NC,
            taught,
            places(self.pairs, image_NC, taught),
        )

    @property
    def _pixels(self) -> dict[str, float]:
        preprocess = clip_config(self.sizes)["preprocess_cfg"]
        return {"mean": preprocess["mean"][0], "std": preprocess["std"][0]}
