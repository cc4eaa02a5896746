"""The order of an epoch: a pure function of sizes, seed and epoch, so that any place can be found.

Shards are permuted. Every `open_shards` of them are cut into blocks of adjacent samples, and the
blocks are permuted; every `window` samples of that are permuted once more. So a read is one block
of one shard, which disks and object stores like, and a batch holds samples of many shards. Keys are
hashes and the builder places samples by them, so that adjacent samples have nothing in common.

Permutations sort random integers of Philox, whose stream NumPy keeps; shuffles it may change.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Shuffle:
    """How far samples are moved; larger is more random, and more is read at once."""

    open_shards: int = 64
    block: int = 64  # adjacent samples read together
    window: int = 512  # samples a worker reads and hands over at once

    def __post_init__(self) -> None:
        if min(self.open_shards, self.block, self.window) < 1:
            raise ValueError(f"expected 1 or more everywhere, not {self}")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Window:
    """Some neighbours of the order: where each of n samples lies."""

    start: int  # position of the first in the node's span
    shards_n: NDArray[np.int64]
    rows_n: NDArray[np.int64]  # sample within the shard, in the order of its index

    def __len__(self) -> int:
        return len(self.rows_n)

    def first(self, count: int) -> "Window":
        """Return the first samples."""
        return Window(start=self.start, shards_n=self.shards_n[:count], rows_n=self.rows_n[:count])


def random_words(count: int, *salt: object) -> NDArray[np.uint64]:
    """Draw 64-bit integers that only `salt` decides."""
    digest = blake2b("/".join(map(str, salt)).encode(), digest_size=16).digest()
    return np.random.Philox(key=np.frombuffer(digest, "<u8")).random_raw(count)


def permutation(count: int, *salt: object) -> NDArray[np.int64]:
    """Return 0 to `count` - 1 in an order that only `salt` decides."""
    return np.argsort(random_words(count, *salt), kind="stable")


def windows(
    sizes: Sequence[int],
    span: range,
    *,
    shuffle: Shuffle,
    salt: tuple[object, ...],
    start: int = 0,
) -> Iterator[Window]:
    """Yield the windows of a node's span, from its `start`-th sample on.

    Args:
        sizes: samples of every shard.
        span: positions in the permuted shards that are the node's, as `node_span` gives them.
        shuffle: how far samples are moved.
        salt: seed and epoch.
        start: samples of the span already read; the first window is cut where it lies inside.
    """
    parts = _parts(sizes, permutation(len(sizes), *salt, "shards"), span)
    first = 0
    for number in range(0, len(parts), shuffle.open_shards):
        group = parts[number : number + shuffle.open_shards]
        length = sum(len(rows) for _, rows in group)
        if first + length > start:
            here = (*salt, span.start, number)
            places = _permuted_blocks(group, shuffle.block, here)
            yield from _windows_of(places, first, shuffle.window, here, start)
        first += length


def _parts(sizes: Sequence[int], order: NDArray[np.int64], span: range) -> list[tuple[int, range]]:
    """Return the rows of each shard that lie in the span, shards in order."""
    parts: list[tuple[int, range]] = []
    first = 0
    for shard in order.tolist():
        rows = range(max(0, span.start - first), min(sizes[shard], span.stop - first))
        if rows:
            parts.append((shard, rows))
        first += sizes[shard]
    return parts


def _permuted_blocks(
    group: Sequence[tuple[int, range]], block: int, salt: tuple[object, ...]
) -> NDArray[np.int64]:
    """Return (shard, row) of every sample of some shards, [n, 2], block by block."""
    blocks = [
        (shard, low, min(low + block, rows.stop))
        for shard, rows in group
        for low in range(rows.start, rows.stop, block)
    ]
    chosen = [blocks[number] for number in permutation(len(blocks), *salt, "blocks")]
    shards_n = np.repeat([shard for shard, _, _ in chosen], [end - low for _, low, end in chosen])
    rows_n = np.concatenate([np.arange(low, end) for _, low, end in chosen])
    return np.stack([shards_n, rows_n], axis=1)


def _windows_of(
    places_n2: NDArray[np.int64], first: int, size: int, salt: tuple[object, ...], start: int
) -> Iterator[Window]:
    for low in range(0, len(places_n2), size):
        skipped = max(0, start - first - low)
        part_n2 = places_n2[low : low + size]
        if skipped < len(part_n2):
            order_n = permutation(len(part_n2), *salt, "window", low)[skipped:]
            shards_n, rows_n = part_n2[order_n].T
            yield Window(start=first + low + skipped, shards_n=shards_n, rows_n=rows_n)
