"""Which samples come next: a function of plan and state, so that any place can be found again.

An epoch: shards are permuted. Every `open_shards` of them are cut into blocks of adjacent samples,
and the blocks are permuted; every `window` samples of that are permuted once more. So a read is one
block of one shard, which disks and object stores like, and a batch holds samples of many shards.
Keys are hashes and the builder places samples by them, so that adjacent samples have nothing in
common. Permutations sort random integers of Philox, whose stream NumPy keeps; shuffles it may
change.

Several sources: shares of the mixture are kept at every moment, not on average.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from model.data.manifest import DataError
from model.data.plan import LoadPlan, Shuffle
from model.data.sources import OpenSource


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


def mixture(
    taken: Sequence[int], weights: Sequence[float], limits: Sequence[int | None]
) -> Iterator[int]:
    """Yield the number of the source to draw from, again and again.

    The next source is the one whose draws are the fewest for its weight: least
    (taken + 1/2) / weight, the first on a tie (Sainte-Lague's way of sharing out seats). It hangs
    on nothing but `taken`, which is therefore all there is to resume from. A source that reached
    its limit drops out, and the others keep their proportions.

    Args:
        taken: samples drawn of each source so far.
        weights: positive, in any unit.
        limits: samples to draw of each source in all; None for no end.

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


class Waiting(BaseModel):
    """A sample that was read and is in no batch yet, because none of its schedule was full."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: int
    position: int  # in the source's stream of this node
    bucket: int  # where it waits: number of its schedule


class LoaderState(BaseModel):
    """A few integers: the next sample of every source, and those that wait.

    What the order hangs on stands beside them, so that a state is not taken up by a loader of
    another order. The number of workers is not among it: no order hangs on that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    order: Mapping[str, Any]  # as `Loader` describes it
    taken: tuple[int, ...]  # positions passed of each source's stream, over all epochs
    waiting: tuple[Waiting, ...] = ()  # in order of arrival; none where all images are square
    seen: int = 0  # samples read, the bad ones included
    bad: int = 0  # of them skipped

    @classmethod
    def load(cls, saved: Mapping[str, Any], order: Mapping[str, Any]) -> Self:
        """Read a state as a checkpoint holds it.

        Raises:
            DataError: it is none, or one of another order.
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
                "cannot go on from this checkpoint, samples would be lost or doubled: "
                + "; ".join(differing)
            )
        return state


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReadTask:
    """Samples to make in one go."""

    source: int
    epoch: int
    window: Window


class ReadTasks:
    """The tasks of a node in order: the samples that wait, one by one, then windows.

    A function of plan and state alone, whatever workers do with it. Positions count on from epoch
    to epoch; a node's span of the order is as long in every epoch.
    """

    def __init__(self, sources: Sequence[OpenSource], plan: LoadPlan, start: LoaderState) -> None:
        self._sources, self._plan, self._start = sources, plan, start

    def draws(self) -> Iterator[int]:
        """Yield the source of each sample."""
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
        """Yield the windows of a source from a position on, epoch after epoch."""
        opened, span, plan = self._sources[source], self._sources[source].span, self._plan
        sizes = [shard.samples for shard in opened.shards]
        epoch, start = divmod(position, len(span))
        while True:
            salt = (plan.seed, opened.content, epoch)
            for window in windows(sizes, span, shuffle=plan.shuffle, salt=salt, start=start):
                yield ReadTask(source=source, epoch=epoch, window=window)
            epoch, start = epoch + 1, 0
