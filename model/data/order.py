"""The order of samples: a function of plan and state, so that training can resume anywhere.

In an epoch the shards are permuted. Each group of `open_shards` shards is cut into blocks of
adjacent samples, and the blocks are permuted; then each `window` of samples is permuted. So one
read is one block of one shard, which is fast on disks and object stores, and a batch holds samples
of many shards. The builder places samples by key, and keys are hashes, so adjacent samples are
unrelated. Permutations sort random integers of Philox, because NumPy guarantees its stream, but not
its shuffles.

With several sources, the shares of the mixture hold at every moment, not only on average.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from model.data.manifest import DataError
from model.data.plan import LoadPlan, Shuffle
from model.data.sources import OpenSource


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Window:
    """The shard and row of n consecutive samples of the order."""

    start: int  # position of the first in the node's span
    shards_n: NDArray[np.int64]
    rows_n: NDArray[np.int64]  # sample within the shard, in the order of its index

    def __len__(self) -> int:
        return len(self.rows_n)

    def first(self, count: int) -> "Window":
        """Return a window of the first `count` samples."""
        return Window(start=self.start, shards_n=self.shards_n[:count], rows_n=self.rows_n[:count])


def random_words(count: int, *salt: object) -> NDArray[np.uint64]:
    """Draw 64-bit integers that depend on `salt` alone."""
    digest = blake2b("/".join(map(str, salt)).encode(), digest_size=16).digest()
    return np.random.Philox(key=np.frombuffer(digest, "<u8")).random_raw(count)


def permutation(count: int, *salt: object) -> NDArray[np.int64]:
    """Return 0 to `count` - 1 in an order that depends on `salt` alone."""
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
        span: the node's positions in the permuted shards, from `node_span`.
        shuffle: how far samples are moved.
        salt: seed and epoch.
        start: samples of the span already read; a window that they end in starts after them.
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
    """Return the rows of each shard in the span, in the order of the shards."""
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


def mixture(
    taken: Sequence[int], weights: Sequence[float], limits: Sequence[int | None]
) -> Iterator[int]:
    """Yield the number of the source to draw from, again and again.

    The next source has the least (taken + 1/2) / weight; on a tie, the first (Sainte-Lague's
    method). It depends on `taken` alone, so `taken` is enough to resume. A source that reached its
    limit drops out, and the others keep their proportions.

    Args:
        taken: samples drawn from each source so far.
        weights: positive, in any unit.
        limits: samples to draw from each source in total; None for no end.

    >>> from itertools import islice
    >>> list(islice(mixture([0, 0], [3, 1], [None, None]), 8))
    [0, 0, 1, 0, 0, 0, 1, 0]
    """
    drawn = list(taken)
    while True:
        left = [
            number for number, limit in enumerate(limits) if limit is None or drawn[number] < limit
        ]
        if not left:
            return
        chosen = min(left, key=lambda number: (drawn[number] + 0.5) / weights[number])
        drawn[chosen] += 1
        yield chosen


def drawn(weights: Sequence[float], total: int) -> list[int]:
    """Return how many of the first `total` samples `mixture` draws from each source.

    No count is further from its share than the number of sources. So most samples are given to each
    by its share at once, and `mixture` gives the few others; the order of a total has no influence.

    Args:
        weights: positive, in any unit.
        total: samples.

    >>> drawn([3, 1], 8), drawn([1173, 50], 793_600)
    ([6, 2], [761155, 32445])
    """
    taken = [max(0, int(total * weight / sum(weights)) - len(weights)) for weight in weights]
    for source in islice(mixture(taken, weights, [None] * len(weights)), total - sum(taken)):
        taken[source] += 1
    return taken


class Waiting(BaseModel):
    """A sample that was read but is in no batch yet, because its bucket was not full."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: int
    position: int  # in the source's stream of this node
    bucket: int  # number of its schedule


class LoaderState(BaseModel):
    """The next sample of every source, and the samples that wait.

    It also holds the values that decide the order, so that a loader with another order refuses it.
    The number of workers does not change the order and is not stored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    order: Mapping[str, Any]  # from `LoadPlan.order`
    taken: tuple[int, ...]  # samples taken from each source, over all epochs
    waiting: tuple[Waiting, ...] = ()  # in order of arrival; none where all images are square
    seen: int = 0  # samples read, the bad ones included
    bad: int = 0  # samples skipped

    @classmethod
    def load(cls, saved: Mapping[str, Any], order: Mapping[str, Any]) -> Self:
        """Read the state in a checkpoint.

        Raises:
            DataError: it is no loader state, or has another order.
        """
        try:
            state = cls.model_validate(saved)
        except ValidationError as error:
            raise DataError(f"the loader's state in the checkpoint: {error}") from error
        differing = [
            f"{name}: {state.order.get(name)!r} in the checkpoint, {order.get(name)!r} here"
            for name in sorted({*state.order, *order})
            if state.order.get(name) != order.get(name)
        ]
        if differing:
            raise DataError(
                "cannot resume from this checkpoint, samples would be lost or doubled: "
                + "; ".join(differing)
            )
        return state


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReadTask:
    """The samples that a worker makes in one call."""

    source: int
    epoch: int
    window: Window


class ReadTasks:
    """The tasks of a node in order: first each waiting sample, then windows.

    They depend on plan and state alone, not on the workers. Positions continue from epoch to epoch;
    a node's span has the same length in every epoch.
    """

    def __init__(self, sources: Sequence[OpenSource], plan: LoadPlan, start: LoaderState) -> None:
        self._sources, self._plan, self._start = sources, plan, start

    def draws(self) -> Iterator[int]:
        """Return the source of each sample in turn."""
        epochs = self._plan.epochs
        limits = [epochs and epochs * len(each.span) for each in self._sources]
        return mixture(self._start.taken, [each.weight for each in self._plan.sources], limits)

    def __iter__(self) -> Iterator[ReadTask]:
        """Yield the tasks."""
        for each in self._start.waiting:
            task = next(self._stream(each.source, each.position))
            yield ReadTask(source=each.source, epoch=task.epoch, window=task.window.first(1))
        streams = [self._stream(*each) for each in enumerate(self._start.taken)]
        left = [0] * len(streams)
        for source in self.draws():
            if not left[source]:
                task = next(streams[source])
                left[source] = len(task.window)
                yield task
            left[source] -= 1

    def _stream(self, source: int, position: int) -> Iterator[ReadTask]:
        """Yield the tasks of a source from a position on, epoch after epoch."""
        opened, span, plan = self._sources[source], self._sources[source].span, self._plan
        sizes = [shard.samples for shard in opened.shards]
        epoch, start = divmod(position, len(span))
        while True:
            salt = (plan.seed, opened.content, epoch)
            for window in windows(sizes, span, shuffle=plan.shuffle, salt=salt, start=start):
                yield ReadTask(source=source, epoch=epoch, window=window)
            epoch, start = epoch + 1, 0
