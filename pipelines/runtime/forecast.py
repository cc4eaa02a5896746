"""Forecast failed rows: can a stage still stay within the share that a recipe allows?

A crawl whose network is dead would otherwise go on for days and fail at its end.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pipelines.runtime.sidecar import Counts

RECENT = 8  # shards of a source that must have failed alike before its rest is written off


@dataclass(kw_only=True)
class _Done:
    """The shards of one source that are done."""

    shards: int = 0
    rows: int = 0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))  # failed, a share


@dataclass(kw_only=True)
class Forecast:
    """Outcomes of a stage's finished shards, and a forecast for the others.

    The rest of a source is expected to fail as often as the best of its last `RECENT` shards: one
    good shard among them is enough to go on. Of a source of which fewer were done nothing is
    expected to fail.

    >>> forecast = Forecast(allowed=0.5, sources=["web"] * 100)
    >>> for shard in range(8):
    ...     forecast.add(shard, Counts(rows_in=10, kept=1, failed={"timeout": 9}))
    >>> forecast.is_hopeless
    True
    """

    allowed: float  # share of the rows that may fail
    sources: Sequence[str]  # of each shard
    counts: Counts = field(default_factory=Counts)  # of all shards that are done
    _done: dict[str, _Done] = field(default_factory=lambda: defaultdict(_Done))  # by source

    def add(self, shard: int, counts: Counts, *, is_old: bool = False) -> None:
        """Take a shard that is done; from an old one, of an earlier job, nothing is learned."""
        self.counts += counts
        done = self._done[self.sources[shard]]
        done.shards += 1
        done.rows += counts.rows_in
        if counts.rows_in and not is_old:
            done.recent.append(counts.failed_rows / counts.rows_in)

    @property
    def is_hopeless(self) -> bool:
        """Whether more rows will have failed in the end than are allowed."""
        lost, rows = float(self.counts.failed_rows), float(self.counts.rows_in)
        if not rows:
            return False
        mean = rows / sum(done.shards for done in self._done.values())
        for source, shards in self._shards.items():
            done = self._done[source]
            rows_a_shard = done.rows / done.shards if done.shards else mean
            left = (shards - done.shards) * rows_a_shard
            rows += left
            if len(done.recent) == RECENT:
                lost += left * min(done.recent)
        return lost > self.allowed * rows

    @cached_property
    def _shards(self) -> Mapping[str, int]:
        return Counter(self.sources)
