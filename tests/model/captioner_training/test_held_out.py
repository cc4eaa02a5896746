"""Three parts are held out; none has an image that another has, or one like it."""

import numpy as np
from numpy.typing import NDArray

from model.captioner_training.held_out import KNOWN_WORDS, NEW_WORDS, VALIDATION, parts
from model.image_text.pairs import Pair
from model.image_text.split import families, same_images, split

WORDS = [f"{first}{second}x" for first in "abcdefghij" for second in "abcdefghij"]


def noise(seed: int) -> NDArray[np.uint8]:
    small = np.random.RandomState(seed).randint(0, 256, (8, 8, 3), np.uint8)
    return small.repeat(4, 0).repeat(4, 1)


# Ten images of each word, of which each two look the same.
PAIRS = [
    Pair(name=f"clips/{word}_{number}.png", title=f"thing {word}", text="", tags=())
    for word in WORDS
    for number in range(10)
]
IMAGES = [noise(number // 2) for number in range(len(PAIRS))]
SHARE = 0.3


def test_the_held_out_groups_of_clip_are_held_out_first() -> None:
    _, held = split(PAIRS, IMAGES, SHARE)
    assert parts(PAIRS, IMAGES, SHARE).held[NEW_WORDS] == held


def test_each_pair_is_in_one_part_and_its_like_too() -> None:
    found = parts(PAIRS, IMAGES, SHARE)
    sides = [found.train, *found.held.values()]
    assert sorted(number for side in sides for number in side) == list(range(len(PAIRS)))
    assert all(len(side) > 30 for side in sides)
    family = families(PAIRS, same_images(IMAGES))
    of_sides = [{family[number] for number in side} for side in sides]
    assert sum(map(len, of_sides)) == len({*family}) == len(PAIRS) // 2


def test_last_words_are_new_but_in_the_part_of_known_words() -> None:
    found = parts(PAIRS, IMAGES, SHARE)
    trained = {PAIRS[number].head for number in found.train}
    for part, known in ((NEW_WORDS, False), (VALIDATION, False), (KNOWN_WORDS, True)):
        heads = {PAIRS[number].head for number in found.held[part]}
        assert heads <= trained if known else heads.isdisjoint(trained)


def test_an_image_without_a_title_trains_nothing() -> None:
    untitled = [Pair(name="a.png", title="", text="", tags=("fox",)), *PAIRS]
    found = parts(untitled, [noise(5000), *IMAGES], SHARE)
    assert 0 not in found.train


def test_of_a_part_each_title_is_shown_once() -> None:
    found = parts(PAIRS, IMAGES, SHARE)
    titles = [PAIRS[number].title for number in found.shown(PAIRS, NEW_WORDS)]
    assert len(titles) == len({*titles}) == len(found.held[NEW_WORDS]) / 10
