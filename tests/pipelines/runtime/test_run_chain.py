"""A chain of stages as one job: what it runs, what it tells, and when it is given up."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from number_stages import ROWS, After, Number

from pipelines.engines.engine import Engine
from pipelines.runtime.chain import ChainRun, by_hints, first_stale, in_jobs, shards_to_do
from pipelines.runtime.run_chain import TooManyFailedError, _forecasts, run_chain
from pipelines.runtime.sidecar import Counts
from pipelines.runtime.stage import MapStage
from pipelines.stage_table import make_stages
from schemas.recipe_file import parse_recipe
from schemas.store.storage import Storage

ENGINES = {
    "this process": Engine(processes=1),
    "pool": Engine(processes=2),
    "Beam's runner": Engine(beam_options=("--runner=FnApiRunner",)),
}


def run(
    store: Storage,
    stages: list[MapStage],
    shards: int,
    *,
    engine: Engine = ENGINES["this process"],
    allowed: Mapping[str, float] | None = None,
) -> ChainRun:
    with engine.started(store):
        return run_chain(
            stages,
            store,
            engine,
            shards_to_do(stages, store, shards),
            allowed=allowed or {stage.name: 1.0 for stage in stages},
            sources=["web"] * shards,
            pause_s=0.01,
        )


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_it_tells_which_shards_a_stage_made_and_how_long_that_took(
    engine: Engine, tmp_path: Path
) -> None:
    store = Storage(str(tmp_path))
    first = run(store, [Number(), After()], 3, engine=engine)
    assert first.ran == {"number": {0, 1, 2}, "after": {0, 1, 2}}
    store.remove("afters/00001.parquet")
    store.remove("numbers/00002.parquet")
    again = run(store, [Number(pause_s=0.2), After()], 3, engine=engine)
    assert again.ran == {"number": {2}, "after": {1}}
    assert again.seconds["number"] >= 0.2


def test_stages_that_ask_for_other_workers_get_only_shards_that_have_work(tmp_path: Path) -> None:
    store = Storage(str(tmp_path))
    stages = [Number(), After(machine="1GB")]
    assert [len(step) for step in by_hints(stages)] == [1, 1]
    assert run(store, stages, 3).ran == {"number": {0, 1, 2}, "after": {0, 1, 2}}
    # Other settings, the same rows: what comes after is fresh.
    again = run(store, [Number(note="new"), After(machine="1GB")], 3)
    assert again.ran == {"number": {0, 1, 2}, "after": set()}


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_a_job_that_can_only_fail_is_stopped_and_what_it_committed_stays(
    engine: Engine, tmp_path: Path
) -> None:
    store, shards = Storage(str(tmp_path)), 120
    failed = Number(fail=9, pause_s=0.05)
    with pytest.raises(TooManyFailedError) as told:
        run(store, [failed], shards, engine=engine, allowed={"number": 0.5})
    assert told.value.stage == "number"
    assert told.value.counts.failed == {"timeout": told.value.counts.rows_in // ROWS * 9}
    left = shards_to_do([failed], store, shards)
    assert 0 < len(left) <= shards - 8
    # And another job of this process is not held up by it.
    again = {*run(store, [Number(fail=9)], shards, engine=engine).ran["number"]}
    assert again <= {*left}  # where the job was in a thread, that may have finished one more
    assert len(again) >= len(left) - 2


def test_a_shard_that_was_never_made_comes_before_one_that_is_made_again(tmp_path: Path) -> None:
    store = Storage(str(tmp_path))
    run(store, [Number()], 3)
    assert list(shards_to_do([Number(note="new")], store, 5).items()) == [
        *((3, 0), (4, 0)),
        *((0, 0), (1, 0), (2, 0)),
    ]
    assert shards_to_do([Number(), After()], store, 4) == {0: 1, 1: 1, 2: 1, 3: 0}


def test_fresh_shards_of_a_stage_are_no_rest_that_fails(tmp_path: Path) -> None:
    store = Storage(str(tmp_path))
    run(store, [Number()], 20)
    for shard in range(8):  # these alone are made again, and fail
        store.remove(f"numbers/{shard:05d}.parquet")
    stages = [Number(fail=9, note=""), After()]
    fresh = {shard: first_stale([Number(fail=0), After()], shard, store) for shard in range(20)}
    assert list(fresh.values()) == [0] * 8 + [1] * 12
    forecasts = _forecasts(stages, store, fresh, {"number": 0.5, "after": 1.0}, ["web"] * 20)
    for shard in range(8):
        forecasts["number"].add(shard, Counts(rows_in=ROWS, failed={"timeout": ROWS}))
    assert not forecasts["number"].is_hopeless  # 8 of 20


def test_a_build_is_five_jobs() -> None:
    recipe = {"name": "a", "sources": [{"name": "web", "kind": "list", "path": "a.csv"}]}
    jobs = [[stage.name for stage in job] for job in in_jobs(make_stages(parse_recipe(recipe)))]
    assert jobs == [
        ["ingest", "crawl", "measure", "score", "select"],
        ["dedup"],
        ["caption", "pair", "vq_tokens"],
        ["shard"],
        ["report"],
    ]
