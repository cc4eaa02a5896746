"""What to read next, on and on: windows of the sources' orders, as the mixture asks for them."""

from collections.abc import Iterator, Sequence

from model.data.making import Job, OpenSource
from model.data.mixing import mixture
from model.data.order import windows
from model.data.plan import LoadPlan
from model.data.state import LoaderState


class Jobs:
    """The jobs of a node in order: the samples that wait, one by one, then windows.

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

    def __iter__(self) -> Iterator[Job]:
        """Yield the jobs."""
        for each in self._start.waiting:
            job = next(self._stream(each.source, each.position))
            yield Job(source=each.source, epoch=job.epoch, window=job.window.first(1))
        streams = [self._stream(*each) for each in enumerate(self._start.taken)]
        left = [0] * len(streams)
        for source in self.draws():
            if not left[source]:
                job = next(streams[source])
                left[source] = len(job.window)
                yield job
            left[source] -= 1

    def _stream(self, source: int, position: int) -> Iterator[Job]:
        """Yield the windows of a source from a position on, epoch after epoch."""
        opened, span, plan = self._sources[source], self._sources[source].span, self._plan
        sizes = [shard.samples for shard in opened.shards]
        epoch, start = divmod(position, len(span))
        while True:
            salt = (plan.seed, opened.content, epoch)
            for window in windows(sizes, span, shuffle=plan.shuffle, salt=salt, start=start):
                yield Job(source=source, epoch=epoch, window=window)
            epoch, start = epoch + 1, 0
