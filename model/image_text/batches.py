"""Batches of images and captions, decided by the number of the step alone."""

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.image_text.augment import augment
from model.image_text.pairs import Pair, caption
from schemas.keys import draw, rank

# Images of these words are not mirrored: their mirror image is something else.
ONE_WAY: Final = frozenset(
    {"left", "right", "arrow", "flag", "letter", "number", "digit", "keycap", "clock", "button"}
    | {"sign", "symbol", "text", "latin", "map", "semaphore"}
)


class Batches:
    """Draws the pairs of each step.

    An epoch has one image of each subject, so that no batch calls a picture of a cat wrong for
    another's title "cat", and 1,375 stars weigh as much as one cat.

    Args:
        pairs: all of them.
        size: pairs per step.
        seed: of the order and the changes of images.
    """

    def __init__(self, pairs: Sequence[Pair], size: int, seed: int) -> None:
        self._pairs, self._size, self._seed = pairs, size, seed
        subjects: defaultdict[str, list[int]] = defaultdict(list)
        for number, pair in enumerate(pairs):
            subjects[pair.subject].append(number)
        self._subjects = sorted(subjects.items())
        self.subjects = len(self._subjects)
        self.steps_an_epoch = max(1, self.subjects // size)
        self._order = lru_cache(maxsize=1)(self._ordered)

    def captions(self, step: int) -> tuple[list[int], list[str]]:
        """Return the numbers of the pairs of a step, and their captions."""
        epoch, place = divmod(step, self.steps_an_epoch)
        chosen = self._order(epoch)[place * self._size :][: self._size]
        return chosen, [caption(self._pairs[number], epoch) for number in chosen]

    def images(
        self, images: Sequence[NDArray[np.uint8]], numbers: Sequence[int], step: int, side: int
    ) -> Tensor:
        """Return changed images of some pairs, in [0, 1], float32 [B, 3, side, side]."""
        images_B3SS = torch.from_numpy(np.stack([images[n] for n in numbers])).permute(0, 3, 1, 2)
        subjects = [self._pairs[number].subject.split() for number in numbers]
        flip_B = torch.tensor([ONE_WAY.isdisjoint(words) for words in subjects])
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + step)
        return augment(images_B3SS, flip_B, side, generator)

    def _ordered(self, epoch: int) -> list[int]:
        salt = f"{self._seed} epoch {epoch}"
        ordered = sorted(self._subjects, key=lambda subject: rank(subject[0], salt))
        return [numbers[draw(name, salt, len(numbers))] for name, numbers in ordered]
