"""Where samples wait until there are enough of one schedule for a batch."""

from collections.abc import Sequence

from model.data.making import Sample
from model.data.state import Waiting
from model.tokenizers.protocol import Schedule


class Buckets:
    """Sorts samples by the schedule of their generated image.

    A sample that generates none goes with any: it is put where most are waiting.

    Args:
        schedules: all there are, of the tokenizer's own grid; () where nothing is generated.
        batch: samples of a batch.
    """

    def __init__(self, schedules: Sequence[Schedule], batch: int) -> None:
        self._schedules, self._batch = schedules, batch
        self._buckets: list[list[tuple[Waiting, Sample]]] = [[] for _ in schedules]

    def choose(self, sample: Sample) -> int:
        """Return the number of the bucket that a sample belongs in."""
        if sample.image:
            return self._schedules.index(sample.image.schedule)
        return max(range(len(self._buckets)), key=lambda number: len(self._buckets[number]))

    def put(self, sample: Sample, waiting: Waiting) -> None:
        """Put a sample where `waiting` says."""
        self._buckets[waiting.bucket].append((waiting, sample))

    def full(self) -> int | None:
        """Return the number of a bucket that has a batch; None if none has."""
        return next((n for n, each in enumerate(self._buckets) if len(each) >= self._batch), None)

    def rest(self) -> int | None:
        """Return the number of a bucket that is not empty; None if all are."""
        return next((number for number, each in enumerate(self._buckets) if each), None)

    def take(self, number: int) -> tuple[list[Sample], Schedule]:
        """Remove the samples of a batch, or what there is, and return them with their schedule."""
        taken, kept = self._buckets[number][: self._batch], self._buckets[number][self._batch :]
        self._buckets[number] = kept
        return [sample for _, sample in taken], self._schedules[number]

    def waiting(self) -> tuple[Waiting, ...]:
        """Return what waits, bucket by bucket, each in order of arrival."""
        return tuple(waiting for bucket in self._buckets for waiting, _ in bucket)
