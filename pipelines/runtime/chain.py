"""Chains: map stages that follow each other, run on a shard one after the other in one job.

A shard goes on to the next stage as soon as it is committed; it waits for no other shard.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from pipelines.engines.lasting_pool import tell_progress
from pipelines.runtime.sidecar import each_shard
from pipelines.runtime.stage import MapStage, ShardReport, Stage, is_fresh, run_shard
from schemas.keys import shard_name
from schemas.store.storage import Storage


@dataclass(frozen=True, kw_only=True)
class ChainRun:
    """What a run of a chain did, by stage."""

    ran: Mapping[str, Collection[int]] = field(default_factory=dict)  # shards
    seconds: Mapping[str, float] = field(default_factory=dict)  # of all workers together
    # Seconds of these that devices waited for prepared images; of stages that compute on one.
    waited: Mapping[str, float] = field(default_factory=dict)


def chain_name(stages: Sequence[MapStage]) -> str:
    """Name a chain by its first and last stage, or by its only one."""
    names = dict.fromkeys((stages[0].name, stages[-1].name))
    return "-to-".join(names)


def in_jobs(stages: Iterable[Stage]) -> Iterator[list[Stage]]:
    """Cut the stages of a build into its jobs: map stages that follow each other are one.

    A stage that asks for GPUs starts another job after stages that decode: options for GPUs are of
    a whole job, and would have all others run in one process a machine.
    """
    chain: list[MapStage] = []
    for stage in stages:
        if isinstance(stage, MapStage):
            if stage.gpu and any(before.is_isolated for before in chain):
                yield [*chain]
                chain = []
            chain.append(stage)
            continue
        if chain:
            yield [*chain]
        chain = []
        yield [stage]
    if chain:
        yield [*chain]


def by_hints(stages: Iterable[MapStage]) -> Iterator[tuple[MapStage, ...]]:
    """Cut a chain where its stages ask for other workers."""
    return (tuple(group) for _, group in groupby(stages, key=lambda stage: stage.hints()))


def first_stale(stages: Sequence[MapStage], shard: int, store: Storage) -> int:
    """Return the place in the chain of the first stage whose side-car is not fresh.

    It is the length of the chain where all are.
    """
    for place, stage in enumerate(stages):
        if not is_fresh(stage, shard, store):
            return place
    return len(stages)


def shards_to_do(stages: Sequence[MapStage], store: Storage, shards: int) -> dict[int, int]:
    """Map the shards, of so many, in which a stage has work to the place of the first such stage.

    Shards of which nothing was ever made come first, before those that are made again: a job that
    is stopped and started again gets on with the former.
    """
    found = each_shard(lambda shard: first_stale(stages, shard, store), range(shards))
    todo = {shard: place for shard, place in enumerate(found) if place < len(stages)}
    there = {stage.folder: store.listing(stage.folder) for stage in stages} if todo else {}

    def is_again(shard: int) -> bool:
        folder, name = stages[todo[shard]].folder, f"{shard_name(shard)}.parquet"
        return name in there[folder]

    return {shard: todo[shard] for shard in sorted(todo, key=is_again)}


def run_empty(stages: Sequence[MapStage], store: Storage, shards: Iterable[int]) -> ChainRun:
    """Make the side-cars of shards in which no row waits, here: no job and no model for those."""
    reports = [each for found in each_shard(RunChain(stages, store), shards) for each in found]
    ran = {stage.name: [r.shard for r in reports if r.stage == stage.name] for stage in stages}
    return ChainRun(ran=ran)


class RunChain:
    """A picklable call that runs the stages of a chain on one shard.

    Worker processes of our own unpickle it, and need no Beam for it.
    """

    def __init__(self, stages: Iterable[MapStage], store: Storage) -> None:
        self._stages = tuple(stages)
        self._store = store

    def __call__(self, shard: int) -> list[ShardReport]:
        """Run one shard; what is fresh is skipped."""
        reports: list[ShardReport] = []
        for stage in self._stages:
            reports.append(run_shard(stage, shard, self._store))
            tell_progress()
        return reports
