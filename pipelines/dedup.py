"""dedup: find rows that are the same image, over the whole corpus, by shuffling keys alone.

1. `repeated_url`: the same key in two shards; the first shard's row stays.
2. `same_bytes`: equal sha256; the smallest key stays.
3. `near_duplicate`: pHashes within a Hamming distance, and colours within a distance in every
   cell of a grid. Rows are ranked by resolution, then key; going down the ranks, a row goes if
   a row that stays is like it, so every row that goes is like the very row that stands for it.

A row that goes in a later step may stand for rows that went before; they follow it to the row
that stands for it, so `kept_key` always names a row that stays.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, ClassVar

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from filters.text import normalised_text, primary_text
from pipelines.map_shards import Concurrently
from pipelines.near_duplicates import (
    NEAR_DUPLICATE,
    Gone,
    Row,
    Verdict,
    near_duplicates,
    verdict_on,
)
from pipelines.sidecar import Counts, column, make_origin, read_table, sidecar_path, write_sidecar
from pipelines.storage import Storage
from schemas.recipe import Dedup as DedupRecipe
from schemas.tables import DUPLICATES

REPEATED_URL, SAME_BYTES = "repeated_url", "same_bytes"

# What is equal among rows of one group, and in which order the first of them stays.
_IDENTITY: dict[str, Callable[[Row], str]] = {
    REPEATED_URL: lambda row: row.key,
    SAME_BYTES: lambda row: row.sha256,
    NEAR_DUPLICATE: lambda row: f"{row.phash:016x} {row.layout}",
}
_ORDER: dict[str, Callable[[Row], Any]] = {
    REPEATED_URL: lambda row: row.shard,
    SAME_BYTES: lambda row: row.key,
    NEAR_DUPLICATE: lambda row: row.rank,
}


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
        write = WriteDuplicates(stage=self.name, store=store, fingerprint=fingerprint)
        hashed = self.recipe.phash_distance is not None
        rows = (
            shards
            | "Spread" >> beam.Reshuffle().with_input_types(int).with_output_types(int)
            | "ReadRows" >> beam.FlatMap(read_rows, store, hashed=hashed).with_output_types(Row)
        )
        unique, repeated = _keep_first(rows, REPEATED_URL)
        return (
            {
                "shard": shards | "Seed" >> beam.Map(_seed).with_output_types(tuple[int, int]),
                "gone": self._gone(unique, repeated),
                "repeats": _count_texts(unique),
            }
            | "ByShard" >> beam.CoGroupByKey()
            | "Write" >> beam.ParDo(Concurrently(write)).with_output_types(int)
        )

    def _gone(self, alive: Any, gone: Any) -> Any:
        """Return the rows that go: those gone already, and of those alive the ones that go here."""
        if self.recipe.same_bytes:
            alive, same = _keep_first(alive, SAME_BYTES)
            gone = _follow(gone, same, SAME_BYTES)
        if self.recipe.phash_distance is not None:
            # Equal looks are settled first: a popular one is a single row in the comparison.
            alive, equal = _keep_first(alive, NEAR_DUPLICATE)
            gone = _follow(gone, equal, "equal_looks")
            near = near_duplicates(alive, self.recipe)
            gone = _follow(gone, near, NEAR_DUPLICATE)
        return gone


def read_rows(shard: int, store: Storage, *, hashed: bool) -> Iterator[Row]:
    """Read what dedup needs of one shard's measured rows.

    Args:
        shard: number of the side-cars.
        store: the corpus.
        hashed: whether looks are compared, and so were measured.
    """
    wanted = ["key", "pixels", *(["phash", "colour_layout"] if hashed else [])]
    signals = read_table(store, sidecar_path("signals", shard), wanted)
    raw = read_table(store, sidecar_path("raw", shard), ["key", "sha256"])
    sources = read_table(store, sidecar_path("sources", shard), ["key", "text", "title"])
    sha256 = dict(zip(column(raw, "key"), column(raw, "sha256"), strict=True))
    texts = {row["key"]: primary_text(row["text"], row["title"]) for row in sources.to_pylist()}
    for row in signals.to_pylist():
        key, text = row["key"], normalised_text(texts[row["key"]])
        digest = blake2b(text.encode(), digest_size=16).hexdigest()
        looks = row.get("phash", 0), row.get("colour_layout", "")
        yield Row(key, shard, row["pixels"], looks[0], sha256[key], digest, looks[1])


@dataclass(frozen=True, kw_only=True)
class WriteDuplicates:
    """Publish the side-car of one shard; a row nobody stands for stands for itself."""

    stage: str
    store: Storage
    fingerprint: str

    def __call__(self, group: tuple[int, dict[str, Iterable[Any]]]) -> int:
        """Write `duplicates/NNNNN.parquet`; returns the shard's number."""
        shard, found = group
        rows = _rows({verdict.key: verdict for verdict in found["gone"]}, dict(found["repeats"]))
        table = pa.Table.from_pylist(rows, schema=DUPLICATES)
        dropped = Counter(row["reason"] for row in rows if row["reason"])
        counts = Counts(rows_in=len(rows), kept=len(rows) - dropped.total(), dropped=dropped)
        origin = make_origin(self.stage, self.fingerprint, table, counts)
        write_sidecar(self.store, sidecar_path("duplicates", shard), table, origin)
        return shard


def _rows(gone: dict[str, Verdict], repeats: dict[str, int]) -> list[dict[str, Any]]:
    stays = {key: Verdict(key, key, "", 0, 0) for key in repeats}
    return [
        {
            "key": key,
            "kept_key": verdict.kept_key,
            "reason": verdict.reason,
            "distance": verdict.distance,
            "text_repeats": repeats.get(key, 0),
        }
        for key, verdict in sorted((stays | gone).items())
    ]


def _seed(shard: int) -> tuple[int, int]:
    """Bring up every shard, or one with no row measured would get no side-car."""
    return shard, shard


def _keep_first(rows: Any, reason: str) -> tuple[Any, Any]:
    """Split rows into the first of each identity, and `Gone` of the others."""
    split = (
        rows
        | f"Key_{reason}" >> beam.Map(_keyed, reason).with_output_types(tuple[str, Row])
        | f"Group_{reason}" >> beam.GroupByKey()
        | f"First_{reason}"
        >> beam.FlatMap(_first_and_rest, reason).with_outputs("rest", main="first")
    )
    first = split.first | f"Row_{reason}" >> beam.Map(_same).with_output_types(Row)
    return first, split.rest | f"Gone_{reason}" >> beam.Map(_same).with_output_types(Gone)


def _same(element: Any) -> Any:
    """Pass an element of a tagged output on; only a transform can declare its type."""
    return element


def _keyed(row: Row, reason: str) -> tuple[str, Row]:
    return _IDENTITY[reason](row), row


def _first_and_rest(group: tuple[str, Iterable[Row]], reason: str) -> Iterator[Any]:
    first, *rest = sorted(group[1], key=_ORDER[reason])
    yield first
    for row in rest:
        yield TaggedOutput("rest", verdict_on(row, first, reason))


def _follow(before: Any, now: Any, step: str) -> Any:
    """Where a row that stood for others goes now, let the row that stands for it do so."""
    followed = (
        {
            "before": before
            | f"ByKept_{step}" >> beam.Map(_by_kept_key).with_output_types(tuple[str, Gone]),
            "now": now | f"ByKey_{step}" >> beam.Map(_by_key).with_output_types(tuple[str, Gone]),
        }
        | f"Meet_{step}" >> beam.CoGroupByKey()
        | f"Follow_{step}" >> beam.FlatMap(_redirected).with_output_types(Gone)
    )
    return (followed, now) | f"Gone_by_{step}" >> beam.Flatten()


def _by_kept_key(gone: Gone) -> tuple[str, Gone]:
    return gone[1].kept_key, gone


def _by_key(gone: Gone) -> tuple[str, Gone]:
    return gone[1].key, gone


def _redirected(group: tuple[str, dict[str, Iterable[Gone]]]) -> Iterator[Gone]:
    now = [verdict for _, verdict in group[1]["now"]]
    for shard, verdict in group[1]["before"]:
        if now:
            kept = {"kept_key": now[0].kept_key, "kept_phash": now[0].kept_phash}
            verdict = verdict._replace(**kept)
        yield shard, verdict


def _count_texts(rows: Any) -> Any:
    """Return (shard, (key, rows with the same text)) of each row."""
    return (
        rows
        | "ByText" >> beam.Map(_by_text).with_output_types(tuple[str, tuple[int, str]])
        | "SameText" >> beam.GroupByKey()
        | "Count" >> beam.FlatMap(_counted).with_output_types(tuple[int, tuple[str, int]])
    )


def _by_text(row: Row) -> tuple[str, tuple[int, str]]:
    return row.text, (row.shard, row.key)


def _counted(group: tuple[str, Iterable[tuple[int, str]]]) -> Iterator[tuple[int, tuple[str, int]]]:
    # Read twice rather than held: all rows without a text are one group.
    repeats = sum(1 for _ in group[1])
    for shard, key in group[1]:
        yield shard, (key, repeats)
