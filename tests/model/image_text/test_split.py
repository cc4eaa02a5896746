from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from model.image_text.pairs import Pair
from model.image_text.split import families, family, groups, same_images, shown, split


def pair(name: str, title: str) -> Pair:
    return Pair(name=name, title=title, text="", tags=())


def noise(seed: int) -> NDArray[np.uint8]:
    small = np.random.RandomState(seed).randint(0, 256, (8, 8, 3), np.uint8)
    return small.repeat(4, 0).repeat(4, 1)


PAIRS = [
    pair("fluent/1f469-1f3fd-200d-1f680.webp", "woman astronaut: medium skin tone"),
    pair("openmoji/1f468-200d-1f680.png", "man in space"),
    pair("clips/fox_01.png", "Red fox 2"),
    pair("clips/fox_02.png", "blue foxs"),
    pair("clips/dog.png", "dog"),
    pair("clips/dog_copy.png", "pet"),
    pair("clips/house.png", "house"),
]
IMAGES = [noise(seed) for seed in (0, 1, 2, 3, 4, 4, 5)]


def test_words_families_and_looks_make_groups() -> None:
    found = groups(PAIRS, same_images(IMAGES))
    same = {(a, b) for a, b in combinations(range(len(PAIRS)), 2) if found[a] == found[b]}
    assert same == {(0, 1), (2, 3), (4, 5)}


def test_families_have_looks_and_emoji_in_common_but_not_words() -> None:
    found = families(PAIRS, same_images(IMAGES))
    same = {(a, b) for a, b in combinations(range(len(PAIRS)), 2) if found[a] == found[b]}
    assert same == {(0, 1), (4, 5)}


def test_images_of_one_hash_and_other_colours_are_two() -> None:
    red, blue = (np.full((32, 32, 3), colour, np.uint8) for colour in ((200, 0, 0), (0, 0, 200)))
    assert len({*groups([pair("a", "one"), pair("b", "two")], same_images([red, blue]))}) == 2


def test_no_group_is_on_both_sides() -> None:
    pairs = [pair(f"clips/{n}.png", f"thing {chr(97 + n % 26)}x") for n in range(200)]
    images = [noise(seed) for seed in range(200)]
    kept, held = split(pairs, images, 0.3)
    assert sorted([*kept, *held]) == list(range(200))
    assert 20 < len(held) < 120
    assert {pairs[n].head for n in kept}.isdisjoint(pairs[n].head for n in held)
    assert split(pairs, images, 0) == (list(range(200)), [])


def test_a_split_does_not_depend_on_the_order() -> None:
    def sides(order: Callable[[list[int]], list[int]]) -> set[str]:
        numbers = order(list(range(len(PAIRS))))
        pairs, images = [PAIRS[n] for n in numbers], [IMAGES[n] for n in numbers]
        return {pairs[n].name for n in split(pairs, images, 0.5)[1]}

    assert sides(list) == sides(lambda numbers: numbers[::-1])


def test_the_names_of_other_files_are_no_families() -> None:
    assert family("clips/fox.png") == "clips/fox.png"
    assert family("a/1f3fb.png") == family("b/1f3fb.webp") != family("b/1f3fc.webp")
    assert family("a/2642-fe0f.png") != family("a/2640-fe0f.png")


def test_one_image_of_each_list_and_title_is_shown() -> None:
    pairs = [
        pair("a/1.png", "cat"),
        pair("a/2.png", "cat: dark skin tone"),
        pair("b/1.png", "Cat"),
        Pair(name="a/3.png", title="", text="", tags=("dog",)),
    ]
    assert shown(pairs, [0, 1, 2, 3]) == [0, 2]
