"""The summary of a corpus for the report: summaries of shards are of bounded size and add up.

Lists that could grow with the corpus keep only the first entries of an order that does not depend
on the shard: smallest ranks of a hash (examples), shortest texts (licences), largest losses
(shards). The smallest entries of a whole are among the smallest of its parts. So `merge` is exact,
in any order and any grouping.
"""

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from filters.captions.languages import LanguageOf, detector
from filters.registry import columns
from filters.scores.registry import columns_of
from filters.signal import Column
from pipelines.dedup.rows import OF_DUPLICATES
from pipelines.report.page import captioned
from pipelines.report.page.correlations import Moments, make_moments
from pipelines.report.page.histograms import Histogram, make_histogram
from pipelines.report.page.joined import joined
from pipelines.report.page.medians import count_values
from pipelines.report.page.records import (
    Blurred,
    Choice,
    DeadLetter,
    Group,
    Rejected,
    RejectKind,
    ShardLine,
    Summary,
    Tally,
)
from pipelines.report.page.worded import WordCounts, word_counts
from pipelines.runtime.face_boxes import read_boxes
from pipelines.runtime.sidecar import (
    Used,
    kept_rows,
    read_origin,
    read_rejects,
    read_table,
    rows_with,
    sidecar_path,
)
from schemas.keys import rank
from schemas.recipe import MaxFailedFraction, Recipe
from schemas.rule_config import Rule
from schemas.score_config import LanguageScore
from schemas.store.storage import Storage
from schemas.subsets import DEFAULT_SUBSET

# Maximum number of entries of each kind; together they bound the size of the report.
MOST = {
    "kept": 24,
    "pair": 6,  # of each subset
    "dropped": 8,
    "duplicate": 6,
    "just_kept": 6,
    "just_dropped": 6,
}
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
        return read_table(store, sidecar_path(folder, shard), columns or None)

    sources = read("sources", "key", "source", "licence").to_pylist()
    duplicates = read("duplicates", "key", "kept_key", "kept_in", "reason", "distance")
    selection = read("selection", "key", "kept", "reason").to_pylist()
    verdicts = duplicates.to_pylist()
    captions = read("captions").to_pylist()
    kept = frozenset(_keys(read("tokens", "key")))
    source = sources[0]["source"] if sources else ""
    subset = {each.name: each.subset for each in recipe.sources}.get(source, DEFAULT_SUBSET)
    said = {row["key"]: row["caption"] for row in captions if row["key"] in kept}
    histograms = _histograms(shard, store, kept, recipe, source)
    scored = [column.name for column in columns_of(recipe.score.scorers)]
    scores = read("scores")
    line = ShardLine(
        shard=shard,
        source=source,
        listed=_rows_in(store, shard),
        fetched=read("raw", "key").num_rows,
        measured=read("signals", "key").num_rows,
        selected=duplicates.num_rows,
        unique=len(kept_rows(duplicates)),
        samples=len(kept),
    )
    return Summary(
        shard_count=1,
        shards=(line,),
        sources=_tallies(sources, kept, lambda row: row["source"]),
        licences=_few_licences(_tallies(sources, kept, _licence)),
        blurred=_blurred(shard, store, kept, recipe),
        caption_origins=Counter(c["caption_origin"] for c in captions if c["key"] in kept),
        captions=captioned.counts_of(captions, kept, _used(shard, store), _language_of(recipe)),
        words={subset: word_counts(read("pairs").to_pylist(), said)},
        histograms=histograms,
        scores_of_sources={(source, n): histograms[n] for n in scored if n in histograms},
        score_values={(source, n): _values(scores, n) for n in scored if n in histograms},
        moments=_moments(shard, store, recipe) if scored else {},
        examples={
            **_examples(shard, subset, kept, selection, verdicts),
            **_at_thresholds(shard, selection, scores, recipe, source),
        },
        in_earlier=Counter((row["reason"], row["kept_in"]) for row in verdicts if row["kept_in"]),
        rejects=_rejects(shard, store),
    )


def merge(a: Summary, b: Summary) -> Summary:
    """Return the summary of two parts that share no shard; associative and commutative."""
    return Summary(
        shard_count=a.shard_count + b.shard_count,
        shards=tuple(sorted(a.shards + b.shards, key=lambda line: line.survival)[:MOST_SHARDS]),
        sources=joined(a.sources, b.sources, _add_tallies),
        licences=_few_licences(joined(a.licences, b.licences, _add_tallies)),
        blurred=Blurred(*map(add, a.blurred, b.blurred)),
        caption_origins=joined(a.caption_origins, b.caption_origins, add),
        captions=captioned.merged(a.captions, b.captions),
        words=joined(a.words, b.words, WordCounts.plus),
        histograms=joined(a.histograms, b.histograms, add),
        scores_of_sources=joined(a.scores_of_sources, b.scores_of_sources, add),
        score_values=joined(a.score_values, b.score_values, add),
        moments=joined(a.moments, b.moments, Moments.plus),
        examples={
            group: tuple(sorted(found)[: MOST[group.kind]])
            for group, found in joined(a.examples, b.examples, add).items()
        },
        in_earlier=joined(a.in_earlier, b.in_earlier, add),
        rejects=joined(a.rejects, b.rejects, _add_rejected),
    )


def merge_all(parts: Iterable[Summary]) -> Summary:
    """Return the summary of any number of parts."""
    return reduce(merge, parts, Summary())


def shown_columns(recipe: Recipe) -> tuple[Column, ...]:
    """Return the columns that the report shows as histograms, in the recipe's order."""
    stored = (*columns(recipe.measure.signals), *columns_of(recipe.score.scorers))
    return (*(column for column in stored if column.is_ordered), TEXT_REPEATS)


def shown_rules(recipe: Recipe) -> dict[str, dict[str, Rule]]:
    """Return the rules that histograms show, by source and column: of dedup the most of a text."""
    most = recipe.dedup.max_text_repeats
    repeats = {} if most is None else {TEXT_REPEATS.name: Rule(max=most)}
    return {source: rules | repeats for source, rules in recipe.rules_by_source().items()}


def _blurred(shard: int, store: Storage, kept: frozenset[str], recipe: Recipe) -> Blurred:
    boxes = read_boxes(store, shard, recipe.blur)
    faces = [len(found) for key, found in boxes.items() if key in kept]
    return Blurred(samples=len(faces), faces=sum(faces))


def _values(table: pa.Table, name: str) -> Counter[float]:
    return count_values(table[name].drop_null().to_numpy())


def _rows_in(store: Storage, shard: int) -> int:
    origin = read_origin(store, sidecar_path("sources", shard))
    return origin.counts.rows_in if origin else 0


def _used(shard: int, store: Storage) -> Mapping[str, Used]:
    origin = read_origin(store, sidecar_path("captions", shard))
    return origin.used if origin else {}


def _language_of(recipe: Recipe) -> LanguageOf | None:
    """Return the detector of languages if the recipe needs its package anyway."""
    scored = any(isinstance(scorer, LanguageScore) for scorer in recipe.score.scorers)
    needed = recipe.caption.engines and (scored or recipe.caption.gates.languages)
    return detector() if needed else None


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
    shard: int, store: Storage, kept: frozenset[str], recipe: Recipe, source: str
) -> dict[str, Histogram]:
    """Return the histogram of each column, over the rows that have a value in it."""
    rules = shown_rules(recipe).get(source, {})
    found: dict[str, Histogram] = {}
    shown = shown_columns(recipe)
    for folder in ("signals", "scores", "duplicates"):
        table = read_table(store, sidecar_path(folder, shard), ["key", *(c.name for c in shown)])
        in_shards = pc.is_in(table["key"], pa.array(sorted(kept), pa.string()))
        for column in shown:
            if column.name in table.column_names:
                there = table[column.name].is_valid()
                values = table[column.name].filter(there).to_numpy()
                found[column.name] = make_histogram(
                    column, values, in_shards.filter(there).to_numpy(), rules.get(column.name)
                )
    return found


def _examples(
    shard: int,
    subset: str,
    kept: frozenset[str],
    selection: list[dict[str, Any]],
    duplicates: list[dict[str, Any]],
) -> dict[Group, tuple[Choice, ...]]:
    found: dict[Group, list[Choice]] = {}
    for key in kept:
        found.setdefault(Group("kept"), []).append(Choice(rank(key, "report"), key, shard))
        choice = Choice(rank(key, "report pair"), key, shard)
        found.setdefault(Group("pair", subset), []).append(choice)
    for row in selection:
        if not row["kept"]:
            choice = Choice(rank(row["key"], "report"), row["key"], shard)
            found.setdefault(Group("dropped", row["reason"]), []).append(choice)
    for row in duplicates:
        if row["reason"]:
            kept_row = (row["kept_key"], row["kept_in"], row["distance"])
            choice = Choice(rank(row["key"], "report"), row["key"], shard, *kept_row)
            kind = "duplicate" if row["reason"] in OF_DUPLICATES else "dropped"
            found.setdefault(Group(kind, row["reason"]), []).append(choice)
    return {group: tuple(sorted(choices)[: MOST[group.kind]]) for group, choices in found.items()}


def _moments(shard: int, store: Storage, recipe: Recipe) -> dict[tuple[str, str], Moments]:
    """Return the sums of each score with every other column."""
    scores = read_table(store, sidecar_path("scores", shard))
    signals = read_table(store, sidecar_path("signals", shard))
    signals = rows_with(signals, scores["key"].combine_chunks())
    values = {name: table[name] for table in (signals, scores) for name in table.column_names}
    first = [column.name for column in columns_of(recipe.score.scorers)]
    shown = [column for column in shown_columns(recipe) if column is not TEXT_REPEATS]
    return make_moments(shown, first, values)


def _at_thresholds(
    shard: int,
    selection: list[dict[str, Any]],
    scores: pa.Table,
    recipe: Recipe,
    source: str,
) -> dict[Group, tuple[Choice, ...]]:
    """Choose the rows nearest to each bound on a score: kept ones, and those that it drops."""
    rules = recipe.rules_by_source().get(source, {})
    outcome = {row["key"]: row["reason"] for row in selection}
    found: dict[Group, list[Choice]] = {}
    for name, rule in rules.items():
        if name not in scores.column_names:
            continue
        rows = list(zip(_keys(scores), scores[name].to_pylist(), strict=True))
        for bound, limit in (("min", rule.min), ("max", rule.max)):
            for key, value in rows if limit is not None else ():
                reason = outcome.get(key)
                if value is not None and limit is not None and reason in ("", f"{name}_{bound}"):
                    kind = "just_dropped" if reason else "just_kept"
                    choice = Choice(_ordered(abs(value - limit)), key, shard)
                    found.setdefault(Group(kind, f"{name}_{bound}"), []).append(choice)
    return {group: tuple(sorted(choices)[: MOST[group.kind]]) for group, choices in found.items()}


def _ordered(number: float) -> str:
    """Return a number of 0 or more as text that sorts as the number does.

    >>> sorted([_ordered(10.0), _ordered(0.5), _ordered(9.0)]) == [
    ...     _ordered(0.5), _ordered(9.0), _ordered(10.0)]
    True
    """
    return struct.pack(">d", number).hex()


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
