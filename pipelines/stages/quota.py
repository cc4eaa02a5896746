"""Quotas: which rows of a source are within it, decided by hash order over the whole corpus.

A source's quota is a cut-off in the order of `rank(key)`. Two passes over ranks find it exactly
without sorting a corpus: counts of 65,536 ranges of ranks, then the ranks of the one range that
the quota ends in.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipelines.runtime.sidecar import Origin
from pipelines.runtime.stage import Stage
from pipelines.sources.plan import read_plan
from pipelines.stages.select import QUOTA, Select, judged
from schemas.fingerprint import fingerprint
from schemas.keys import rank
from schemas.recipe import Recipe
from schemas.store.storage import CorpusError, Storage

BIN_DIGITS = 4  # of a rank's 32 hex digits: 65,536 ranges


def quotas(recipe: Recipe) -> dict[str, int]:
    """Return the most images of each source that has a limit."""
    return {source.name: source.quota for source in recipe.sources if source.quota}


def cutoffs_path(
    select: Select, quotas: Mapping[str, int], made_by: Mapping[str, Sequence[str]]
) -> str:
    """Return the file that holds the quotas' cut-offs for these rules and inputs.

    `made_by` has the fingerprints of the side-cars of each folder that select reads.
    """
    rules = [[name, rule.model_dump(mode="json")] for name, rule in select.rules.items()]
    inputs = {folder: list(made_by[folder]) for folder in select.inputs}
    return f"selection/quota-{fingerprint(dict(quotas), rules, inputs)}.json"


def read_cutoffs(store: Storage, path: str) -> dict[str, str]:
    """Read where each source's quota ends: source -> highest rank within it.

    Raises:
        CorpusError: if the file is damaged.
    """
    try:
        return json.loads(store.read(path))
    except ValueError as error:
        raise CorpusError(f"{path}: damaged ({error}); remove it and build again") from error


def fingerprints(origins: Mapping[str, Sequence[Origin]]) -> dict[str, list[str]]:
    """Return the fingerprints of side-cars, by folder."""
    return {folder: [origin.fingerprint for origin in found] for folder, found in origins.items()}


def within(stage: Stage, cutoffs: Mapping[str, str]) -> Stage:
    """Tell select where quotas end; any other stage needs not know."""
    return replace(stage, cutoffs=cutoffs) if isinstance(stage, Select) else stage


def write_cutoffs(
    shards: Any,
    store: Storage,
    select: Select,
    quotas: dict[str, int],
    path: str,
    bin_digits: int = BIN_DIGITS,
) -> Any:
    """Build the graph: shard numbers in, one JSON file of source -> cut-off out.

    `bin_digits` of a rank name its range; it changes no cut-off.
    """
    import apache_beam as beam
    from apache_beam.pvalue import AsDict

    ranks = (
        shards
        | "Spread" >> beam.Reshuffle().with_input_types(int).with_output_types(int)
        | "Ranks" >> beam.FlatMap(_ranks, store, select, quotas).with_output_types(tuple[str, str])
    )
    last_bins = (
        ranks
        | "Bins" >> beam.Map(_one_in_bin, bin_digits).with_output_types(tuple[str, int])
        | "CountBins" >> beam.CombinePerKey(sum).with_output_types(tuple[str, int])
        | "BySource" >> beam.Map(_by_source).with_output_types(tuple[str, tuple[str, int]])
        | "BinsOfSource" >> beam.GroupByKey()
        | "LastBin"
        >> beam.FlatMap(_last_bin, quotas).with_output_types(tuple[str, tuple[str, int]])
    )
    return (
        ranks
        | "InLastBin"
        >> beam.FlatMap(_in_last_bin, bin_digits, last=AsDict(last_bins)).with_output_types(
            tuple[str, tuple[str, int]]
        )
        | "RanksOfBin" >> beam.GroupByKey()
        | "Cutoff" >> beam.Map(_cutoff).with_output_types(tuple[str, str])
        | "All" >> beam.combiners.ToDict()
        | "Publish" >> beam.Map(_publish, store, path).with_output_types(str)
    )


def _ranks(
    shard: int, store: Storage, select: Select, quotas: dict[str, int]
) -> Iterator[tuple[str, str]]:
    source = read_plan(store)[shard].source
    if source not in quotas:
        return
    for key, verdict in judged(shard, store, select.rules, select.rows_of):
        if verdict.kept:
            yield source, rank(key, QUOTA)


def _one_in_bin(row: tuple[str, str], digits: int) -> tuple[str, int]:
    return f"{row[0]}/{row[1][:digits]}", 1


def _by_source(bin_: tuple[str, int]) -> tuple[str, tuple[str, int]]:
    return bin_[0].rsplit("/", 1)[0], bin_


def _last_bin(
    group: tuple[str, Iterable[tuple[str, int]]], quotas: dict[str, int]
) -> Iterator[tuple[str, tuple[str, int]]]:
    """Yield the bin in which a source's quota ends, and how many of its rows are within."""
    source, bins = group
    room = quotas[source]
    for name, rows in sorted(bins):
        if room <= rows:
            yield source, (name, room)
            return
        room -= rows


def _in_last_bin(
    row: tuple[str, str], digits: int, last: dict[str, tuple[str, int]]
) -> Iterator[tuple[str, tuple[str, int]]]:
    source, rank_ = row
    name, room = last.get(source, ("", 0))
    if f"{source}/{rank_[:digits]}" == name:
        yield source, (rank_, room)


def _cutoff(group: tuple[str, Iterable[tuple[str, int]]]) -> tuple[str, str]:
    ranks = sorted(group[1])
    return group[0], ranks[ranks[0][1] - 1][0]


def _publish(cutoffs: dict[str, str], store: Storage, path: str) -> str:
    store.commit_bytes(path, json.dumps(cutoffs, sort_keys=True).encode())
    return path
