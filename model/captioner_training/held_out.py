"""Which pairs train the captioner, which choose its settings, and which test it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.image_text.pairs import Pair
from model.image_text.split import families, groups, shown
from schemas.keys import unit


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Numbers of pairs; an image is in one part only."""

    train: Sequence[int]  # with a title
    new_words: Sequence[int]  # test: no title to train on ends with their last word
    known_words: Sequence[int]  # test: titles may end as others, no image looks like another
    validation: Sequence[int]  # as new_words, to choose settings by

    def tests(self, pairs: Sequence[Pair]) -> dict[str, list[int]]:
        """Return the pairs of each part to compare: of each list, the first with each title."""
        parts = {"new words": self.new_words, "known words": self.known_words}
        return {name: shown(pairs, part) for name, part in parts.items()}


def parts(pairs: Sequence[Pair], images: Sequence[NDArray[np.uint8]], share: float) -> Parts:
    """Split pairs, the held-out ones of CLIP's training first.

    Args:
        pairs: all.
        images: of the pairs, uint8 [H, W, 3].
        share: of the groups whose last word is new, as in the training of CLIP; the other two parts
            have half as large a share, of the groups and of the families of like images that are
            left.
    """
    train: list[int] = []
    held: dict[str, list[int]] = {"new": [], "known": [], "validation": []}
    names = zip(groups(pairs, images), families(pairs, images), strict=True)
    for number, (group, family) in enumerate(names):
        if unit(group, "held out") < share:
            held["new"].append(number)
        elif unit(group, "validation") < share / 2:
            held["validation"].append(number)
        elif unit(family, "known words") < share / 2:
            held["known"].append(number)
        elif pairs[number].title:
            train.append(number)
    return Parts(
        train=train,
        new_words=held["new"],
        known_words=held["known"],
        validation=held["validation"],
    )
