"""The summary of a corpus for the report: summaries of shards are of bounded size and add up.

Lists that could grow with the corpus keep only the first entries of an order that does not depend
on the shard: smallest ranks of a hash (examples), shortest texts (licences), largest losses
(shards). The smallest entries of a whole are among the smallest of its parts. So `merge` is exact,
in any order and any grouping.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

import pyarrow as pa

from filters.registry import columns
from filters.signal import Column
from pipelines.report.page.histograms import Histogram, make_histogram
from pipelines.report.page.records import (
    Choice,
    DeadLetter,
    Group,
    Rejected,
    RejectKind,
    ShardLine,
    Summary,
    Tally,
)
from pipelines.runtime.sidecar import read_origin, read_rejects, read_table, sidecar_path
from schemas.keys import rank
from schemas.recipe import MaxFailedFraction, Recipe
from schemas.store.storage import Storage

# Maximum number of entries of each kind; together they bound the size of the report.
MOST = {"kept": 24, "pair": 8, "dropped": 8, "duplicate": 6}
MOST_DEAD_LETTERS = 3  # for each stage, outcome and reason
MOST_LICENCES = 40  # a source
MOST_SHARDS = 300
LICENCE_CHARS = 120
DETAIL_CHARS = 300

TEXT_REPEATS = Column(
    name="text_repeats",
    type=pa.int32(),
    meaning="rows of the corpus with the same text, itself included",
    low=1,
    high=1024,
    logarithmic=True,
)


def summarise_shard(shard: int, store: Storage, recipe: Recipe) -> Summary:
    """Return the summary of one shard, from its side-cars; no pixel is read.

    Raises:
        CorpusError: a side-car is missing or damaged.
    """

    def read(folder: str, *columns: str) -> pa.Table:
        return read_table(store, sidecar_path(folder, shard), columns)

    sources = read("sources", "key", "source", "licence").to_pylist()
    signals = read_table(store, sidecar_path("signals", shard))
    duplicates = read("duplicates", "key", "kept_key", "reason", "distance", "text_repeats")
    selection = read("selection", "key", "kept", "reason").to_pylist()
    captions = read("captions", "key", "caption_origin").to_pylist()
    kept = frozenset(_keys(read("tokens", "key")))
    line = ShardLine(
        shard=shard,
        source=sources[0]["source"] if sources else "",
        listed=_rows_in(store, shard),
        fetched=read("raw", "key").num_rows,
        measured=signals.num_rows,
        unique=len(selection),
        selected=sum(row["kept"] for row in selection),
        samples=len(kept),
    )
    return Summary(
        shard_count=1,
        shards=(line,),
        sources=_tallies(sources, kept, lambda row: row["source"]),
        licences=_few_licences(_tallies(sources, kept, _licence)),
        caption_origins=Counter(c["caption_origin"] for c in captions if c["key"] in kept),
        histograms=_histograms(signals, duplicates, kept, recipe),
        examples=_examples(shard, kept, selection, duplicates.to_pylist()),
        rejects=_rejects(shard, store),
    )


def merge(a: Summary, b: Summary) -> Summary:
    """Return the summary of two parts that share no shard; associative and commutative."""
    return Summary(
        shard_count=a.shard_count + b.shard_count,
        shards=tuple(sorted(a.shards + b.shards, key=lambda line: line.survival)[:MOST_SHARDS]),
        sources=_merged(a.sources, b.sources, _add_tallies),
        licences=_few_licences(_merged(a.licences, b.licences, _add_tallies)),
        caption_origins=_merged(a.caption_origins, b.caption_origins, add),
        histograms=_merged(a.histograms, b.histograms, add),
        examples={
            group: tuple(sorted(found)[: MOST[group.kind]])
            for group, found in _merged(a.examples, b.examples, add).items()
        },
        rejects=_merged(a.rejects, b.rejects, _add_rejected),
    )


def merge_all(parts: Iterable[Summary]) -> Summary:
    """Return the summary of any number of parts."""
    return reduce(merge, parts, Summary())


def shown_columns(recipe: Recipe) -> tuple[Column, ...]:
    """Return the columns that the report shows as histograms, in the recipe's order."""
    measured = columns(recipe.measure.signals)
    return (*(column for column in measured if column.is_ordered), TEXT_REPEATS)


def _rows_in(store: Storage, shard: int) -> int:
    origin = read_origin(store, sidecar_path("sources", shard))
    return origin.counts.rows_in if origin else 0


def _keys(table: pa.Table) -> list[str]:
    return [str(key) for key in table["key"].to_pylist()]


def _licence(row: dict[str, Any]) -> tuple[str, str]:
    return row["source"], row["licence"][:LICENCE_CHARS]


def _tallies(
    rows: list[dict[str, Any]], kept: frozenset[str], name: Callable[[dict[str, Any]], Any]
) -> dict[Any, Tally]:
    listed = Counter(name(row) for row in rows)
    in_shards = Counter(name(row) for row in rows if row["key"] in kept)
    return {which: Tally(count, in_shards[which]) for which, count in listed.items()}


def _few_licences(found: Mapping[tuple[str, str], Tally]) -> dict[tuple[str, str], Tally]:
    """Keep the shortest licences of each source: names come before long texts.

    The most common ones cannot be kept: no merge of parts could find them.
    """
    seen: Counter[str] = Counter()
    few: dict[tuple[str, str], Tally] = {}
    for source, licence in sorted(found, key=lambda name: (len(name[1]), name)):
        seen[source] += 1
        if seen[source] <= MOST_LICENCES:
            few[source, licence] = found[source, licence]
    return few


def _histograms(
    signals: pa.Table, duplicates: pa.Table, kept: frozenset[str], recipe: Recipe
) -> dict[str, Histogram]:
    # Both tables are in key order, and dedup has a row for every measured row.
    signals = signals.append_column(TEXT_REPEATS.field, duplicates["text_repeats"])
    in_shards = [key in kept for key in _keys(signals)]
    return {
        column.name: make_histogram(
            column, signals[column.name].to_numpy(), in_shards, recipe.select.get(column.name)
        )
        for column in shown_columns(recipe)
    }


def _examples(
    shard: int,
    kept: frozenset[str],
    selection: list[dict[str, Any]],
    duplicates: list[dict[str, Any]],
) -> dict[Group, tuple[Choice, ...]]:
    found: dict[Group, list[Choice]] = {}
    for key in kept:
        found.setdefault(Group("kept"), []).append(Choice(rank(key, "report"), key, shard))
        found.setdefault(Group("pair"), []).append(Choice(rank(key, "report pair"), key, shard))
    for row in selection:
        if not row["kept"]:
            choice = Choice(rank(row["key"], "report"), row["key"], shard)
            found.setdefault(Group("dropped", row["reason"]), []).append(choice)
    for row in duplicates:
        if row["reason"]:
            ranked = rank(row["key"], "report")
            choice = Choice(ranked, row["key"], shard, row["kept_key"], row["distance"])
            found.setdefault(Group("duplicate", row["reason"]), []).append(choice)
    return {group: tuple(sorted(choices)[: MOST[group.kind]]) for group, choices in found.items()}


def _rejects(shard: int, store: Storage) -> dict[RejectKind, Rejected]:
    found: dict[RejectKind, list[DeadLetter]] = {}
    for stage in MaxFailedFraction.model_fields:
        for row in read_rejects(store, stage, shard).to_pylist():
            outcome = RejectKind(row["stage"], row["outcome"], row["reason"])
            ranked, detail = rank(row["id"], "report"), row["detail"][:DETAIL_CHARS]
            found.setdefault(outcome, []).append(DeadLetter(ranked, row["id"], shard, detail))
    return {outcome: Rejected(len(letters), _first(letters)) for outcome, letters in found.items()}


def _first(letters: Sequence[DeadLetter]) -> tuple[DeadLetter, ...]:
    return tuple(sorted(letters)[:MOST_DEAD_LETTERS])


def _add_tallies(a: Tally, b: Tally) -> Tally:
    return Tally(a.rows + b.rows, a.kept + b.kept)


def _add_rejected(a: Rejected, b: Rejected) -> Rejected:
    return Rejected(a.rows + b.rows, _first(a.examples + b.examples))


def _merged(a: Mapping[Any, Any], b: Mapping[Any, Any], join: Callable[[Any, Any], Any]) -> Any:
    return {**a, **b, **{name: join(a[name], b[name]) for name in a if name in b}}
