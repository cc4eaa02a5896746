"""A stratified sample of rows around the threshold of a rule, drawn by hashes of keys."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.calibration import SAMPLE, scorer_of
from pipelines.dedup.caps import rank_of
from pipelines.dedup.rows import KEY
from pipelines.dedup.words import unhex, words
from pipelines.thresholds.agreement import keeps
from pipelines.thresholds.stored import Chunk, Stored
from schemas.recipe import Recipe
from schemas.rule_config import Rule
from schemas.store.storage import CorpusError, Storage

MOST_SOURCES = 8  # with strata of their own; the rows of smaller ones are drawn together
OTHERS = "other sources"
NEAR = 0.25  # share of the rows of a side that are near the threshold
SALT = "calibrate"


@dataclass(frozen=True, kw_only=True)
class Population:
    """The rows that a rule decides about, by shard: those that pass all other rules."""

    stored: Stored
    values: Sequence[np.ndarray]  # by shard: of the column, a float an entry of `places`
    places: Sequence[np.ndarray]  # by shard: numbers of the rows in `signals/`
    thresholds: Mapping[str, float]  # by source; sources without the rule have no rows


def population(store: Storage, recipe: Recipe, column: str, bound: str) -> Population:
    """Read the values of the rows that pass all other rules.

    Raises:
        CorpusError: no rule of the recipe has this bound, or no row is left.
    """
    thresholds = {
        source: float(getattr(rules[column], bound))
        for source, rules in recipe.rules_by_source().items()
        if column in rules and getattr(rules[column], bound) is not None
    }
    if not thresholds:
        raise CorpusError(f"select.{column}.{bound}: the recipe of the corpus has no such rule")
    without = _without(recipe, column, bound)
    # With the recipe itself, so that the column is read.
    stored = Stored(store=store, recipes=(without, recipe))

    def read(chunk: Chunk) -> list[tuple[np.ndarray, np.ndarray]]:
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for table in stored.tables(chunk):
            passes = stored.verdicts(chunk.source, table)[0].kept & (chunk.source in thresholds)
            values = table[column].to_numpy().astype(np.float64)
            places = np.flatnonzero(passes & np.isfinite(values))
            found.append((values[places], places))
        return found

    shards = [shard for found in stored.each(read) for shard in found]
    if not sum(len(places) for _, places in shards):
        raise CorpusError(f"select.{column}.{bound}: no row passes the other rules")
    values, places = ([each[n] for each in shards] for n in (0, 1))
    return Population(stored=stored, values=values, places=places, thresholds=thresholds)


def draw_sample(rows: Population, recipe: Recipe, column: str, bound: str, size: int) -> pa.Table:
    """Draw rows from strata: source, side of the threshold, and near it or far.

    Near are the quarter of the rows of a source and side that lie nearest. All strata give equally
    many rows, or all they have. The rows of a stratum with the smallest hashes of keys are drawn.

    Returns:
        A table of SAMPLE without labels, in the order of the hashes.
    """
    names, strata = _strata(rows, bound)
    found = np.bincount(np.concatenate(strata), minlength=len(names)).tolist()
    counts = {name: count for name, count in zip(names, found, strict=True) if count}
    wanted = shared_out(counts, size)
    most = [wanted.get(name, 0) for name in names]
    tables = [_candidates(rows, shard, codes, most) for shard, codes in enumerate(strata)]
    drawn = pa.concat_tables(tables).sort_by([("rank", "ascending"), ("key", "ascending")])
    seen: Counter[int] = Counter()
    chosen: list[dict[str, Any]] = []
    for row in drawn.to_pylist():
        seen[row["code"]] += 1
        if seen[row["code"]] <= most[row["code"]]:
            chosen.append({**row, "stratum": names[row["code"]]})
    scorer = scorer_of(recipe, column)
    told = [
        {
            **row,
            "label": "",
            "stratum_rows": counts[row["stratum"]],
            "weight": counts[row["stratum"]] / wanted[row["stratum"]],
            "scorer": scorer,
        }
        for row in chosen
    ]
    return pa.Table.from_pylist(told, schema=SAMPLE)


def shared_out(counts: Mapping[str, int], size: int) -> dict[str, int]:
    """Share out rows to strata equally; what a small one cannot give, larger ones do.

    >>> shared_out({"a": 100, "b": 3, "c": 100}, 11)
    {'b': 3, 'a': 4, 'c': 4}
    """
    shares: dict[str, int] = {}
    smallest_first = sorted(counts, key=lambda name: (counts[name], name))
    for number, name in enumerate(smallest_first):
        left = size - sum(shares.values())
        shares[name] = min(counts[name], max(1, left // (len(counts) - number)))
    return shares


def _without(recipe: Recipe, column: str, bound: str) -> Recipe:
    """Return a recipe without one bound."""

    def freed(rules: Mapping[str, Rule]) -> dict[str, Rule]:
        found = dict(rules)
        if column in rules:
            left = rules[column].model_copy(update={bound: None})
            says = left.model_dump(exclude_defaults=True)
            if says:
                found[column] = left
            else:
                del found[column]
        return found

    sources = tuple(
        source.model_copy(update={"select": freed(source.select)}) for source in recipe.sources
    )
    return recipe.model_copy(update={"select": freed(recipe.select), "sources": sources})


def _strata(rows: Population, bound: str) -> tuple[list[str], list[np.ndarray]]:
    """Return the names of the strata, and the number of each row's stratum, by shard."""
    sizes: Counter[str] = Counter()
    for source, values in zip(rows.stored.sources, rows.values, strict=True):
        sizes[source] += len(values)
    groups = [source for source, _ in sizes.most_common(MOST_SOURCES)]
    sides, distances = list[np.ndarray](), list[np.ndarray]()
    for source, values in zip(rows.stored.sources, rows.values, strict=True):
        group = groups.index(source) if source in groups else len(groups)
        threshold = rows.thresholds.get(source, 0.0)
        sides.append(2 * group + 1 - keeps(values, bound, threshold).astype(np.int64))
        distances.append(np.abs(values - threshold))
    everywhere, far = np.concatenate(sides), np.concatenate(distances)
    cuts = np.zeros(2 * (len(groups) + 1))
    for side in np.unique(everywhere):
        cuts[side] = np.quantile(far[everywhere == side], NEAR)
    names = [
        f"{group}, {side}, {distance}"
        for group in (*groups, OTHERS)
        for side in ("kept", "dropped")
        for distance in ("near", "far")
    ]
    pairs = zip(sides, distances, strict=True)
    return names, [2 * side + (distance > cuts[side]) for side, distance in pairs]


def _candidates(rows: Population, shard: int, strata: np.ndarray, most: Sequence[int]) -> pa.Table:
    """Return the rows of a shard that may be drawn: the first of each stratum."""
    keys: Any = rows.stored.keys(shard).take(pa.array(rows.places[shard], pa.int64()))
    identity = words(unhex(keys.to_pylist())) if len(keys) else [np.zeros(0, np.uint64)] * 2
    ranks = rank_of(pa.Table.from_pydict(dict(zip(KEY, identity, strict=True))), SALT)
    order = np.argsort(ranks, kind="stable")
    firsts = [order[strata[order] == code][: most[code]] for code in np.unique(strata)]
    chosen = np.concatenate([np.zeros(0, np.int64), *firsts])
    source = rows.stored.sources[shard]
    return pa.Table.from_pydict(
        {
            "key": keys.take(pa.array(chosen, pa.int64())),
            "rank": ranks[chosen],
            "code": strata[chosen],
            "value": rows.values[shard][chosen],
            "threshold": np.full(len(chosen), rows.thresholds.get(source, 0.0)),
            "source": pa.array([source] * len(chosen), pa.string()),
            "shard": np.full(len(chosen), shard, np.int32),
        }
    )
