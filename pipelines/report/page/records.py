"""The records of a summary: every shard adds a bounded number of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pipelines.report.page.captioned import CaptionCounts
from pipelines.report.page.correlations import Moments
from pipelines.report.page.histograms import Histogram
from pipelines.report.page.medians import Counts
from pipelines.report.page.worded import WordCounts


class Tally(NamedTuple):
    """Rows of a kind, and how many of them reached the shards."""

    rows: int
    kept: int


class Blurred(NamedTuple):
    """Samples with blurred faces, and the faces of all of them."""

    samples: int = 0
    faces: int = 0


class Choice(NamedTuple):
    """A row chosen as an example: a group keeps its smallest ranks."""

    rank: str
    key: str
    shard: int
    kept_key: str = ""  # of a duplicate: its representative
    kept_in: str = ""  # name of the earlier corpus that this lies in; '' for this corpus
    distance: int = 0  # of a duplicate: bits between the two pHashes


class DeadLetter(NamedTuple):
    """A reject chosen as an example."""

    rank: str
    id: str
    shard: int
    detail: str


class Group(NamedTuple):
    """A group of rows that examples are chosen from."""

    kind: str  # kept, pair, dropped, duplicate, or just_kept and just_dropped by a rule
    reason: str = ""  # of a pair: its subset


class RejectKind(NamedTuple):
    """The stage, outcome and reason of a reject."""

    stage: str
    outcome: str  # dropped or failed
    reason: str


class Rejected(NamedTuple):
    """The number of rejects of one kind, and a few examples."""

    rows: int
    examples: tuple[DeadLetter, ...]


class ShardLine(NamedTuple):
    """Row counts of one shard of side-cars, from the list to the output."""

    shard: int
    source: str
    listed: int
    fetched: int
    measured: int
    selected: int
    unique: int
    samples: int

    @property
    def survival(self) -> tuple[float, int]:
        """Return the sort key: the shard that lost the largest share comes first."""
        return self.samples / max(1, self.listed), self.shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A corpus, or a part of it; `Summary()` is the part with no shards."""

    shard_count: int = 0
    shards: tuple[ShardLine, ...] = ()  # the shards that lost the largest share
    sources: Mapping[str, Tally] = field(default_factory=dict)
    licences: Mapping[tuple[str, str], Tally] = field(default_factory=dict)  # source, licence
    blurred: Blurred = field(default_factory=Blurred)
    caption_origins: Mapping[str, int] = field(default_factory=dict)  # of kept rows
    captions: CaptionCounts = field(default_factory=CaptionCounts)
    words: Mapping[str, WordCounts] = field(default_factory=dict)  # of samples, by subset
    histograms: Mapping[str, Histogram] = field(default_factory=dict)  # by column
    scores_of_sources: Mapping[tuple[str, str], Histogram] = field(default_factory=dict)
    score_values: Mapping[tuple[str, str], Counts] = field(default_factory=dict)  # the same keys
    moments: Mapping[tuple[str, str], Moments] = field(default_factory=dict)  # of pairs of columns
    examples: Mapping[Group, tuple[Choice, ...]] = field(default_factory=dict)  # by rank
    # Duplicates of rows of earlier corpora, by reason and name of the corpus.
    in_earlier: Mapping[tuple[str, str], int] = field(default_factory=dict)
    rejects: Mapping[RejectKind, Rejected] = field(default_factory=dict)
