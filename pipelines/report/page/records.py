"""What a summary is made of: small records that every shard contributes a bounded number of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pipelines.report.page.histograms import Histogram


class Tally(NamedTuple):
    """Rows of a kind, and how many of them reached the shards."""

    rows: int
    kept: int


class Choice(NamedTuple):
    """A row drawn as an example: the smallest hashes of a group are."""

    rank: str
    key: str
    shard: int
    kept_key: str = ""  # of a duplicate: the row that stands for it
    distance: int = 0  # of a duplicate: bits between the two pHashes


class DeadLetter(NamedTuple):
    """A reject drawn as an example."""

    rank: str
    id: str
    shard: int
    detail: str


class Group(NamedTuple):
    """What examples are drawn from."""

    kind: str  # kept, pair, dropped or duplicate
    reason: str = ""


class RejectKind(NamedTuple):
    """Where a reject left."""

    stage: str
    outcome: str  # dropped or failed
    reason: str


class Rejected(NamedTuple):
    """What has one outcome."""

    rows: int
    examples: tuple[DeadLetter, ...]


class ShardLine(NamedTuple):
    """Rows of one shard of the side-cars, from the list to the output."""

    shard: int
    source: str
    listed: int
    fetched: int
    measured: int
    unique: int
    selected: int
    samples: int

    @property
    def survival(self) -> tuple[float, int]:
        """Sorts the shard that lost the largest share first."""
        return self.samples / max(1, self.listed), self.shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A corpus, or a part of it; `Summary()` is the part with no shards."""

    shard_count: int = 0
    shards: tuple[ShardLine, ...] = ()  # those that lost the most
    sources: Mapping[str, Tally] = field(default_factory=dict)
    licences: Mapping[tuple[str, str], Tally] = field(default_factory=dict)  # source, licence
    caption_origins: Mapping[str, int] = field(default_factory=dict)  # of kept rows
    histograms: Mapping[str, Histogram] = field(default_factory=dict)  # by column
    examples: Mapping[Group, tuple[Choice, ...]] = field(default_factory=dict)  # smallest rank 1st
    rejects: Mapping[RejectKind, Rejected] = field(default_factory=dict)
