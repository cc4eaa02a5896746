"""Near-duplicates: rows that look alike by perceptual hash and colours, and which of them stays."""

from collections.abc import Iterable, Iterator
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import apache_beam as beam

from filters.colour_layout import layout_distance
from filters.phash import hamming
from schemas.recipe import Dedup

NEAR_DUPLICATE = "near_duplicate"
HASH_BITS = 64


class Row(NamedTuple):
    """What dedup knows of an image."""

    key: str
    shard: int
    pixels: int
    phash: int  # 64 bits; 0 where the recipe compares none
    sha256: str
    text: str  # digest of the normalised text
    layout: str = ""  # mean colours of a grid, hex digits; '' where the recipe compares none

    @property
    def rank(self) -> tuple[int, str]:
        """Sorts the best image first: most pixels, then smallest key."""
        return -self.pixels, self.key


class Verdict(NamedTuple):
    """What became of a row that goes."""

    key: str
    kept_key: str
    reason: str
    phash: int
    kept_phash: int

    @property
    def distance(self) -> int:
        """Bits in which the two hashes differ."""
        return hamming(self.phash, self.kept_phash)


Gone = tuple[int, Verdict]  # shard of the row that goes
_Pair = tuple[Row, Row]


def verdict_on(row: Row, kept: Row, reason: str) -> Gone:
    """Let `kept` stand for `row`."""
    return row.shard, Verdict(row.key, kept.key, reason, row.phash, kept.phash)


def look_alike(a: Row, b: Row, recipe: Dedup) -> bool:
    """Whether two images are near in luminance (pHash) and, cell by cell, in colour."""
    if recipe.phash_distance is None or hamming(a.phash, b.phash) > recipe.phash_distance:
        return False
    return layout_distance(a.layout, b.layout) <= recipe.colour_distance


def near_duplicates(rows: Any, recipe: Dedup) -> Any:
    """Build the graph: rows in, `Gone` out of each that a better row like it stands for.

    A row is sent once a band: 15 times at distance 4, 45 at 8, 153 at 16. All rows of a band are
    compared, so many that are almost blank cost the square of their number. The near pairs of the
    whole corpus are resolved by one worker, at about 12 s and 400 MB a million.
    """
    distance = recipe.phash_distance or 0
    return (
        rows
        | "Bands" >> beam.FlatMap(_banded, distance).with_output_types(tuple[str, Row])
        | "ByBand" >> beam.GroupByKey()
        | "NearInBand" >> beam.FlatMap(_near_pairs, recipe).with_output_types(tuple[str, _Pair])
        # A pair is found in every band that its rows share.
        | "ByPair" >> beam.GroupByKey()
        | "OnePair" >> beam.Map(_first_of).with_output_types(tuple[str, _Pair])
        | "AllPairs" >> beam.GroupByKey()
        | "Resolve" >> beam.FlatMap(_resolve).with_output_types(Gone)
    )


def bands(phash: int, distance: int) -> Iterator[str]:
    """Yield keys of which two hashes within `distance` bits share at least one.

    The 64 bits are cut into distance + 2 blocks; differing bits touch at most `distance` of them,
    so two blocks are equal, and a key is made of each two: at distance 4, 15 keys of 21 bits.

    >>> list(bands(0xFFFF_FFFF_0000_0000, 0))
    ['0.1.0.ffffffff']
    """
    blocks = distance + 2
    cuts = [HASH_BITS * number // blocks for number in range(blocks + 1)]
    parts = [(phash >> low) & ((1 << (high - low)) - 1) for low, high in pairwise(cuts)]
    for a, b in combinations(range(blocks), 2):
        yield f"{a}.{b}.{parts[a]:x}.{parts[b]:x}"


def resolve(pairs: Iterable[tuple[Row, Row]]) -> list[Gone]:
    """Go down the ranks of all near pairs; return the rows that go."""
    better: dict[Row, list[Row]] = {}
    once: dict[Row, Row] = {}  # a row comes anew with each of its pairs
    for pair in pairs:
        a, b = (once.setdefault(row, row) for row in pair)
        first, second = sorted((a, b), key=lambda row: row.rank)
        better.setdefault(second, []).append(first)
    gone: dict[Row, Gone] = {}
    for row in sorted(better, key=lambda row: row.rank):
        standing = [other for other in better[row] if other not in gone]
        if standing:
            gone[row] = verdict_on(row, min(standing, key=lambda row: row.rank), NEAR_DUPLICATE)
    return list(gone.values())


def _banded(row: Row, distance: int) -> Iterator[tuple[str, Row]]:
    light = row._replace(sha256="", text="")  # it is sent many times, and these are not compared
    for band in bands(row.phash, distance):
        yield band, light


def _near_pairs(
    group: tuple[str, Iterable[Row]], recipe: Dedup
) -> Iterator[tuple[str, tuple[Row, Row]]]:
    for a, b in combinations(sorted(group[1]), 2):
        if look_alike(a, b, recipe):
            yield f"{a.key} {b.key}", (a, b)


def _first_of(group: tuple[str, Iterable[tuple[Row, Row]]]) -> tuple[str, tuple[Row, Row]]:
    """Keep one finding of a pair, under the one key that brings all pairs together."""
    return "", next(iter(group[1]))


def _resolve(group: tuple[str, Iterable[tuple[Row, Row]]]) -> list[Gone]:
    return resolve(group[1])
