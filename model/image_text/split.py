"""The split into pairs to train on and pairs held out, without near copies on both sides."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Final

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.image_text.pairs import Pair
from schemas.keys import unit

SAME_COLOUR: Final = 8  # of 255: mean difference of two images that count as one
_CODE_POINTS: Final = re.compile(r"[0-9a-f]{4,6}(-[0-9a-f]{4,6})*")
_SKIN_TONES: Final = frozenset(f"1f3f{digit}" for digit in "bcdef")
_NO_FAMILY: Final = _SKIN_TONES | {"fe0f", "200d", "2640", "2642"}  # the last: female, male
_PERSON: Final = {"1f468": "1f9d1", "1f469": "1f9d1"}  # man, woman


def split(
    pairs: Sequence[Pair], images: Sequence[NDArray[np.uint8]], share: float
) -> tuple[list[int], list[int]]:
    """Return the numbers of the pairs to train on, and of those held out.

    Pairs are on the same side if their titles end with the same word, if they are skin tones,
    genders or drawings of one emoji, or if their images look the same.

    Args:
        pairs: with the names of emoji files being code points.
        images: of the pairs, uint8 [H, W, 3].
        share: of the groups, by a hash, to hold out.
    """
    names = groups(pairs, same_images(images))
    held = [number for number, name in enumerate(names) if unit(name, "held out") < share]
    kept = [number for number, name in enumerate(names) if unit(name, "held out") >= share]
    return kept, held


def shown(pairs: Sequence[Pair], held: Sequence[int]) -> list[int]:
    """Return the held-out pairs to compare: of each list, the first with each title."""
    firsts: dict[tuple[str, str], int] = {}
    for number in held:
        if pairs[number].title:
            key = (pairs[number].name.partition("/")[0], pairs[number].subject)
            firsts.setdefault(key, number)
    return sorted(firsts.values())


def groups(pairs: Sequence[Pair], same: Iterable[tuple[int, int]]) -> list[str]:
    """Return the name of each pair's group: the first of its members' last words.

    Args:
        pairs: all.
        same: numbers of those whose images look the same.
    """
    heads = [pair.head for pair in pairs]
    return _linked(heads, same, heads, [family(pair.name) for pair in pairs])


def families(pairs: Sequence[Pair], same: Iterable[tuple[int, int]]) -> list[str]:
    """Return the name of each pair's part of a group: one emoji, or images that look the same."""
    names = [family(pair.name) for pair in pairs]
    return _linked(names, same, names)


def _linked(
    names: Sequence[str], same: Iterable[tuple[int, int]], *keys: Sequence[str]
) -> list[str]:
    """Link the pairs of `same` and those with an equal key; return the first name of each set."""
    linked = _Linked(len(names))
    for values in keys:
        linked.link_equal(values)
    linked.link(same)
    firsts: dict[int, str] = {}
    for number, name in enumerate(names):
        root = linked.root(number)
        firsts[root] = min(firsts.get(root, name), name)
    return [firsts[linked.root(number)] for number in range(len(names))]


def family(name: str) -> str:
    """Return what the skin tones and genders of an emoji share, or the name of another image.

    >>> family("a/1f469-1f3fd-200d-1f680.png") == family("b/1f468-200d-1f680.webp")
    True
    """
    stem = PurePosixPath(name).stem
    if not _CODE_POINTS.fullmatch(stem):
        return name
    codes = (_PERSON.get(code, code) for code in stem.split("-"))
    return "-".join(code for code in codes if code not in _NO_FAMILY) or stem


def same_images(images: Sequence[NDArray[np.uint8]]) -> Iterable[tuple[int, int]]:
    """Yield pairs of images with the same perceptual hash and nearly the same colours."""
    small_N = np.stack([_small(image) for image in images]).astype(np.int16)
    buckets: defaultdict[str, list[int]] = defaultdict(list)
    for number, image in enumerate(images):
        for other in (bucket := buckets[str(imagehash.phash(Image.fromarray(image)))]):
            if np.abs(small_N[number] - small_N[other]).mean() < SAME_COLOUR:
                yield other, number
        bucket.append(number)


def _small(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BOX))


class _Linked:
    """Disjoint sets of numbers."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def root(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = number = self._parent[self._parent[number]]
        return number

    def link(self, pairs: Iterable[tuple[int, int]]) -> None:
        for first, second in pairs:
            self._parent[self.root(second)] = self.root(first)

    def link_equal(self, keys: Sequence[str]) -> None:
        seen: dict[str, int] = {}
        self.link((seen.setdefault(key, number), number) for number, key in enumerate(keys))
