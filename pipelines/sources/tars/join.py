"""Joining of a sample's members that are apart in a tar, because tar packs folders in any order."""

import posixpath
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pipelines.sources.listing import PassedOver
from pipelines.sources.names import suffix_of
from pipelines.sources.tars.samples import Sample

# Limits of memory; above them the oldest sample is yielded without later members.
MOST_WAITING = 100_000  # samples
MOST_WAITING_BYTES = 64_000_000  # of texts


def joined(found: Iterable[Sample | PassedOver]) -> Iterator[Sample | PassedOver]:
    """Yield samples in the order of their first members, each joined with its later texts.

    An image is joined with texts of the same folder and name anywhere in the tar, but not with a
    second .txt or .json, or a second image.
    """
    waiting = _Waiting()
    try:
        for each in found:
            if isinstance(each, PassedOver):
                yield each
            else:
                waiting.add(each)
                yield from waiting.overflow()
    except tarfile.TarError:
        yield from waiting.samples.values()
        raise
    yield from waiting.samples.values()


@dataclass(slots=True)
class _Waiting:
    samples: dict[tuple[int, str, int], Sample] = field(default_factory=dict)  # oldest first
    text_bytes: int = 0
    _added: int = 0

    def add(self, sample: Sample) -> None:
        """Join a sample with a waiting one, or add it to the waiting ones."""
        self.text_bytes += sum(len(text.body) for text in sample.texts)
        self._added += 1
        key = (sample.part, _stem(sample), 0)
        other = self.samples.get(key)
        if other is None:
            self.samples[key] = sample
        elif _fit(other, sample):
            other.name = sample.name if sample.image else other.name
            other.image = other.image or sample.image
            other.texts += sample.texts
            other.suffixes += sample.suffixes
        else:
            self.samples[(sample.part, "", self._added)] = sample

    def overflow(self) -> Iterator[Sample]:
        """Remove and yield the oldest samples while memory is over its limits."""
        while len(self.samples) > MOST_WAITING or self.text_bytes > MOST_WAITING_BYTES:
            sample = self.samples.pop(next(iter(self.samples)))
            self.text_bytes -= sum(len(text.body) for text in sample.texts)
            yield sample


def _stem(sample: Sample) -> str:
    """Return the folder and name that an image and its texts share."""
    if sample.image is not None:
        return sample.name
    stems = {posixpath.splitext(text.name)[0] for text in sample.texts}
    return stems.pop() if len(stems) == 1 else sample.name


def _fit(one: Sample, two: Sample) -> bool:
    suffixes = [suffix_of(text.name) for text in (*one.texts, *two.texts)]
    return not (one.image and two.image) and len(suffixes) == len(set(suffixes))
