"""Run a map stage as one Beam job, if any of its shards is to be made."""

from collections.abc import Mapping

from pipelines.engines.engine import Engine, shard_numbers
from pipelines.runtime.crash_isolation import forget_attempts
from pipelines.runtime.progress import progress
from pipelines.runtime.stage import MapStage
from schemas.keys import shard_name
from schemas.store.storage import Storage


def run_stage(
    stage: MapStage,
    store: Storage,
    engine: Engine,
    waiting: Mapping[int, int],
) -> None:
    """Run a map stage as one Beam job, and show how far it is.

    Args:
        stage: what to run.
        store: the corpus.
        engine: where to run.
        waiting: shard -> rows that wait for the stage in it; none for nothing to do.
    """
    if waiting:
        # Beam takes seconds to import, and is not needed where all is fresh.
        from pipelines.runtime.map_shards import MapShards

        rows = {f"{shard_name(shard)}.parquet": count for shard, count in waiting.items()}
        with progress(store, stage.name, stage.folder, rows):
            engine.run(
                lambda root: shard_numbers(root, list(waiting)) | MapShards(stage, store),
                name=stage.name,
                gpu="accelerator" in stage.hints(),
            )
    if stage.decodes:
        forget_attempts(store, stage.name)
