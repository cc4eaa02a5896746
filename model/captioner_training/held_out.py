"""Which pairs train the captioner, which choose its settings, and which test it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.image_text.pairs import Pair
from model.image_text.split import families, groups, same_images, shown
from schemas.keys import unit

NEW_WORDS: Final = "new words"  # no title to train on ends with their last word
KNOWN_WORDS: Final = "known words"  # titles may end as others, but no image is like another
VALIDATION: Final = "validation"  # as new words, to choose settings by


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Numbers of pairs; an image is in one part only."""

    train: Sequence[int]  # with a title
    held: Mapping[str, Sequence[int]]  # by the names above
    groups: Sequence[str]  # of all pairs

    def shown(self, pairs: Sequence[Pair], part: str) -> list[int]:
        """Return the pairs of a part to compare: of each list, the first with each title."""
        return shown(pairs, self.held[part])


def parts(pairs: Sequence[Pair], images: Sequence[NDArray[np.uint8]], share: float) -> Parts:
    """Split pairs, those first that the training of CLIP holds out.

    Args:
        pairs: all.
        images: of the pairs, uint8 [H, W, 3].
        share: of the groups, for the new words, as in the training of CLIP. The other parts have
            half of it: of the groups that are left, and of the families of images in the rest.
    """
    same = [*same_images(images)]
    names = groups(pairs, same)
    train: list[int] = []
    held: dict[str, list[int]] = {NEW_WORDS: [], KNOWN_WORDS: [], VALIDATION: []}
    for number, (group, family) in enumerate(zip(names, families(pairs, same), strict=True)):
        if unit(group, "held out") < share:
            held[NEW_WORDS].append(number)
        elif unit(group, VALIDATION) < share / 2:
            held[VALIDATION].append(number)
        elif unit(family, KNOWN_WORDS) < share / 2:
            held[KNOWN_WORDS].append(number)
        elif pairs[number].title:
            train.append(number)
    return Parts(train=train, held=held, groups=names)
