"""Run a chain of map stages as one Beam job, if any of its shards is to be made."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.engines.engine import Engine, shard_numbers
from pipelines.engines.local_pool import stop_work
from pipelines.runtime.chain import ChainRun, chain_name
from pipelines.runtime.forecast import Forecast
from pipelines.runtime.progress import Work, progress
from pipelines.runtime.sidecar import Counts, read_origins
from pipelines.runtime.stage import MapStage
from schemas.keys import shard_name
from schemas.store.storage import Storage


class TooManyFailedError(Exception):
    """A job was ended early: a stage will fail more rows than it may."""

    def __init__(self, stage: str, counts: Counts) -> None:
        super().__init__(stage)
        self.stage = stage
        self.counts = counts  # of the shards that were done


def run_chain(
    stages: Sequence[MapStage],
    store: Storage,
    engine: Engine,
    todo: Mapping[int, int],
    *,
    allowed: Mapping[str, float],
    sources: Sequence[str],
    pause_s: float | None = None,
) -> ChainRun:
    """Run a chain as one Beam job, and show how far it is.

    Args:
        stages: what to run on each shard, in order.
        store: the corpus.
        engine: where to run.
        todo: the shards in which a stage has work, in the order to run them, each with the place
            of the first such stage.
        allowed: share of the rows of each stage that may fail.
        sources: the source of each shard of the corpus.
        pause_s: seconds between two looks at how far it is; None for what suits the console.

    Raises:
        TooManyFailedError: if the rows that failed so far tell that more will than may.
    """
    # Beam takes seconds to import, and is not needed where all is fresh.
    from pipelines.runtime.map_shards import WAITED, MapShards, seconds_of

    files = {f"{shard_name(shard)}.parquet": shard for shard in todo}
    before = {stage.name: store.listing(stage.folder) for stage in stages}
    forecasts = _forecasts(stages, store, todo, allowed, sources)
    hopeless: list[str] = []  # stages

    def judge(stage: str, file: str, counts: Counts) -> None:
        forecasts[stage].add(files[file], counts)
        if forecasts[stage].is_hopeless and not hopeless:
            hopeless.append(stage)
            stop_work()

    work = [
        Work(
            stage=stage.name,
            folder=stage.folder,
            files=[file for file, shard in files.items() if todo[shard] <= place],
        )
        for place, stage in enumerate(stages)
    ]
    try:
        with progress(store, work, judge, pause_s=pause_s):
            job = engine.run(
                lambda root: shard_numbers(root, list(todo)) | MapShards(stages, store),
                name=chain_name(stages),
                stages=[stage.name for stage in stages],
                gpu=any("accelerator" in stage.hints() for stage in stages),
            )
    except Exception:
        for stage in hopeless:
            raise TooManyFailedError(stage, forecasts[stage].counts) from None
        raise
    return ChainRun(
        ran={stage.name: _changed(store, stage, files, before[stage.name]) for stage in stages},
        seconds=seconds_of(stages, job),
        waited=seconds_of(stages, job, WAITED),
    )


def _changed(
    store: Storage, stage: MapStage, files: Mapping[str, int], before: Mapping[str, Any]
) -> set[int]:
    """Return the shards whose side-car is another than before."""
    now = store.listing(stage.folder)
    return {shard for name, shard in files.items() if now.get(name) != before.get(name)}


def _forecasts(
    stages: Sequence[MapStage],
    store: Storage,
    todo: Mapping[int, int],
    allowed: Mapping[str, float],
    sources: Sequence[str],
) -> dict[str, Forecast]:
    """Return a forecast for each stage that knows the shards whose side-cars are fresh."""
    found: dict[str, Forecast] = {}
    for place, stage in enumerate(stages):
        others = [shard for shard in range(len(sources)) if todo.get(shard, len(stages)) > place]
        found[stage.name] = forecast = Forecast(allowed=allowed[stage.name], sources=sources)
        for shard, origin in zip(others, read_origins(store, stage.folder, others), strict=True):
            forecast.add(shard, origin.counts, is_old=True)
    return found
