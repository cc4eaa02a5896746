"""dedup: find rows that are the same image, over the whole corpus, by shuffling keys alone.

1. `repeated_url`: the same key in two shards; the first shard's row stays.
2. `same_bytes`: equal sha256; the smallest key stays.
3. `near_duplicate`: pHashes within a Hamming distance. Rows are ranked by resolution, then key;
   going down the ranks, a row goes if a row that stays lies within the distance, so every row
   that goes is near the very row that stands for it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations
from typing import Any, ClassVar, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from filters.phash import hamming
from filters.text import normalised_text, primary_text
from pipelines.map_shards import Concurrently
from pipelines.sidecar import (
    Counts,
    column,
    make_origin,
    read_table,
    sidecar_path,
    write_sidecar,
)
from pipelines.storage import Storage
from schemas.recipe import Dedup as DedupRecipe
from schemas.tables import DUPLICATES

REPEATED_URL, SAME_BYTES, NEAR_DUPLICATE = "repeated_url", "same_bytes", "near_duplicate"
HASH_BITS = 64


class Row(NamedTuple):
    """What dedup knows of an image."""

    key: str
    shard: int
    pixels: int
    phash: int  # 64 bits
    sha256: str
    text: str  # digest of the normalised text

    @property
    def rank(self) -> tuple[int, str]:
        """Sorts the best image first: most pixels, then smallest key."""
        return -self.pixels, self.key


_NamedPair = tuple[str, tuple[Row, Row]]

# What is equal among rows of one group, and which of them stays.
_IDENTITY: dict[str, Callable[[Row], str]] = {
    REPEATED_URL: lambda row: row.key,
    SAME_BYTES: lambda row: row.sha256,
    NEAR_DUPLICATE: lambda row: f"{row.phash:016x}",
}


class Verdict(NamedTuple):
    """What became of one row."""

    key: str
    kept_key: str
    reason: str
    distance: int  # bits


@dataclass(frozen=True, kw_only=True)
class FindDuplicates:
    """The Beam part: shard numbers in, one `duplicates/` side-car a shard out."""

    name: ClassVar[str] = "dedup"
    folder: ClassVar[str] = "duplicates"
    inputs: ClassVar[tuple[str, ...]] = ("sources", "raw", "signals")
    version: ClassVar[int] = 1

    recipe: DedupRecipe

    def settings(self) -> Any:
        """Return what decides which rows are the same."""
        return self.recipe.model_dump(mode="json")

    def expand(self, shards: Any, store: Storage, fingerprint: str) -> Any:
        """Build the graph; returns the numbers of the shards written."""
        rows = (
            shards
            | "Spread" >> beam.Reshuffle().with_input_types(int).with_output_types(int)
            | "ReadRows" >> beam.FlatMap(read_rows, store).with_output_types(Row)
        )
        alive, repeated = _keep_first(rows, REPEATED_URL)
        twins = [repeated]
        if self.recipe.same_bytes:
            alive, gone = _keep_first(alive, SAME_BYTES)
            twins.append(gone)
        if self.recipe.phash_distance is None:
            verdicts = twins | "Twins" >> beam.Flatten()
        else:
            # Equal hashes are settled first, so a popular one is a single row in the comparison.
            alive, gone = _keep_first(alive, NEAR_DUPLICATE)
            near = near_duplicates(alive, self.recipe.phash_distance)
            verdicts = _follow([*twins, gone] | "Twins" >> beam.Flatten(), near)
        return (
            {
                "shard": shards | "Seed" >> beam.Map(lambda shard: (shard, shard)),
                "gone": verdicts,
                "repeats": _count_texts(rows),
            }
            | "ByShard" >> beam.CoGroupByKey()
            | "Write" >> beam.ParDo(Concurrently(_Write(self.name, store, fingerprint)))
        )


def read_rows(shard: int, store: Storage) -> Iterator[Row]:
    """Read what dedup needs of one shard's measured rows."""
    signals = read_table(store, sidecar_path("signals", shard), ["key", "pixels", "phash"])
    raw = read_table(store, sidecar_path("raw", shard), ["key", "sha256"])
    sources = read_table(store, sidecar_path("sources", shard), ["key", "text", "title"])
    sha256 = dict(zip(column(raw, "key"), column(raw, "sha256"), strict=True))
    texts = {row["key"]: primary_text(row["text"], row["title"]) for row in sources.to_pylist()}
    for row in signals.to_pylist():
        text = blake2b(normalised_text(texts[row["key"]]).encode(), digest_size=16).hexdigest()
        yield Row(row["key"], shard, row["pixels"], row["phash"], sha256[row["key"]], text)


def near_duplicates(rows: Any, distance: int) -> Any:
    """Return (shard, verdict) of each row that a better one within `distance` bits stands for.

    The near pairs of the whole corpus are resolved by one worker: they are few where `distance`
    is sane, and only their keys, hashes and ranks come together.
    """
    return (
        rows
        | "Bands" >> beam.FlatMap(_banded, distance).with_output_types(tuple[str, Row])
        | "ByBand" >> beam.GroupByKey()
        | "NearInBand" >> beam.FlatMap(_near_pairs, distance).with_output_types(_NamedPair)
        # A pair is found in every band that its rows share.
        | "ByPair" >> beam.GroupByKey()
        | "OnePair" >> beam.Map(_first_of).with_output_types(_NamedPair)
        | "AllPairs" >> beam.GroupByKey()
        | "Resolve" >> beam.FlatMap(_resolve).with_output_types(tuple[int, Verdict])
    )


def bands(phash: int, distance: int) -> Iterator[str]:
    """Yield keys of which two hashes within `distance` bits share at least one.

    The 64 bits are cut into distance + 2 blocks; differing bits touch at most `distance` of them,
    so two blocks are equal, and a key is made of each two: at distance 4, 15 keys of 21 bits.
    """
    blocks = distance + 2
    cuts = [HASH_BITS * number // blocks for number in range(blocks + 1)]
    parts = [
        (phash >> low) & ((1 << (high - low)) - 1)
        for low, high in zip(cuts, cuts[1:], strict=False)
    ]
    for a, b in combinations(range(blocks), 2):
        yield f"{a}.{b}.{parts[a]:x}.{parts[b]:x}"


def resolve(pairs: Iterable[tuple[Row, Row]]) -> list[tuple[int, Verdict]]:
    """Go down the ranks of all near pairs; return (shard, verdict) of the rows that go."""
    better: dict[Row, list[Row]] = {}
    for a, b in pairs:
        first, second = sorted((a, b), key=lambda row: row.rank)
        better.setdefault(second, []).append(first)
    verdicts: dict[Row, Verdict] = {}
    for row in sorted(better, key=lambda row: row.rank):
        standing = [other for other in better[row] if other not in verdicts]
        if standing:
            kept = min(standing, key=lambda other: other.rank)
            bits = hamming(kept.phash, row.phash)
            verdicts[row] = Verdict(row.key, kept.key, NEAR_DUPLICATE, bits)
    return [(row.shard, verdict) for row, verdict in verdicts.items()]


def _keep_first(rows: Any, reason: str) -> tuple[Any, Any]:
    """Split rows into the first of each identity, and (shard, verdict) of the others."""
    split = (
        rows
        | f"Key_{reason}" >> beam.Map(_keyed, reason).with_output_types(tuple[str, Row])
        | f"Group_{reason}" >> beam.GroupByKey()
        | f"First_{reason}"
        >> beam.FlatMap(_first_and_rest, reason).with_outputs("rest", main="first")
    )
    return split.first, split.rest


def _keyed(row: Row, reason: str) -> tuple[str, Row]:
    return _IDENTITY[reason](row), row


def _first_and_rest(group: tuple[str, Iterable[Row]], reason: str) -> Iterator[Any]:
    rows = list(group[1])
    first = min(rows, key=lambda row: (*row.rank, row.shard))
    yield first
    for row in rows:
        if row != first:
            verdict = Verdict(row.key, first.key, reason, 0)
            yield TaggedOutput("rest", (row.shard, verdict))


def _banded(row: Row, distance: int) -> Iterator[tuple[str, Row]]:
    for band in bands(row.phash, distance):
        yield band, row


def _near_pairs(group: tuple[str, Iterable[Row]], distance: int) -> Iterator[Any]:
    for a, b in combinations(sorted(group[1]), 2):
        if hamming(a.phash, b.phash) <= distance:
            yield f"{a.key} {b.key}", (a, b)


def _first_of(group: tuple[str, Iterable[Any]]) -> tuple[str, Any]:
    """Keep one finding of a pair, under the one key that brings all pairs together."""
    return "", next(iter(group[1]))


def _resolve(group: tuple[str, Iterable[tuple[Row, Row]]]) -> list[tuple[int, Verdict]]:
    return resolve(group[1])


def _follow(twins: Any, near: Any) -> Any:
    """Where the row that stood for twins goes itself, let the row that stands for it do so."""
    followed = (
        {
            "twins": twins | "ByKept" >> beam.Map(lambda gone: (gone[1].kept_key, gone)),
            "near": near | "ByGone" >> beam.Map(lambda gone: (gone[1].key, gone[1])),
        }
        | "TwinsAndNear" >> beam.CoGroupByKey()
        | "Follow" >> beam.FlatMap(_redirect)
    )
    return (followed, near) | "Verdicts" >> beam.Flatten()


def _redirect(group: tuple[str, dict[str, list[Any]]]) -> Iterator[tuple[int, Verdict]]:
    near = list(group[1]["near"])
    for shard, verdict in group[1]["twins"]:
        if near:
            verdict = verdict._replace(kept_key=near[0].kept_key, distance=near[0].distance)
        yield shard, verdict


def _count_texts(rows: Any) -> Any:
    """Return (shard, (key, rows of the corpus with the same text)) of each row."""
    return (
        rows
        | "ByText" >> beam.Map(lambda row: (row.text, (row.shard, row.key)))
        | "SameText" >> beam.GroupByKey()
        | "Count" >> beam.FlatMap(_counted)
    )


def _counted(group: tuple[str, Iterable[tuple[int, str]]]) -> Iterator[Any]:
    members = list(group[1])
    for shard, key in members:
        yield shard, (key, len(members))


class _Write:
    """Publish the side-car of one shard; a row nobody stands for stands for itself."""

    def __init__(self, stage: str, store: Storage, fingerprint: str) -> None:
        self._stage = stage
        self._store = store
        self._fingerprint = fingerprint

    def __call__(self, group: tuple[int, dict[str, list[Any]]]) -> int:
        shard, found = group
        gone = {verdict.key: verdict for verdict in found["gone"]}
        rows = []
        for key, repeats in sorted(found["repeats"]):
            verdict = gone.get(key) or Verdict(key, key, "", 0)
            rows.append({**verdict._asdict(), "text_repeats": repeats})
        table = pa.Table.from_pylist(rows, schema=DUPLICATES)
        dropped = Counter(row["reason"] for row in rows if row["reason"])
        counts = Counts(rows_in=len(rows), kept=len(rows) - dropped.total(), dropped=dropped)
        origin = make_origin(self._stage, self._fingerprint, table, counts)
        write_sidecar(self._store, sidecar_path("duplicates", shard), table, origin)
        return shard
