"""One transform for every map stage: here, in a pool, and what happens when a shard fails."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipelines.engines.engine import Engine, shard_numbers
from pipelines.engines.local_pool import local_pool
from pipelines.runtime.map_shards import Concurrently, MapShards
from pipelines.runtime.stage import is_fresh
from pipelines.stages.measure import Measure
from schemas.recipe import DecodeConfig, MeasureConfig
from schemas.store.storage import CorpusError, Storage

SHARDS = 3
MEASURE = Measure(config=MeasureConfig(signals=("size",)), decode=DecodeConfig())


@pytest.fixture
def store(desk, picture: Callable[..., bytes]) -> Storage:
    for shard in range(SHARDS):
        images = {f"{shard}-{n}": picture(n, (40 + n, 30)) for n in range(4)}
        desk.put_images(shard, images | {"broken": b"\x89PNG\r\n\x1a\n cut"})
    return desk.store


def run(store: Storage, processes: int, shards: range = range(SHARDS)) -> None:
    engine = Engine(processes=processes)
    with engine.started(store):
        engine.run(lambda root: shard_numbers(root, shards) | MapShards([MEASURE], store), name="m")


def damage(store: Storage, shard: int) -> None:
    """Flip a byte of the first image of a raw tar."""
    (path,) = Path(store.root).glob(f"raw/{shard:05d}-*.tar")
    data = bytearray(path.read_bytes())
    data[600] ^= 0xFF
    path.write_bytes(data)


def side_cars(store: Storage) -> dict[str, bytes]:
    return {name: store.read(f"signals/{name}") for name in store.listing("signals")}


def test_the_pool_and_this_process_write_the_same_bytes(store: Storage):
    run(store, 1)
    here = side_cars(store)
    for name in here:
        store.remove(f"signals/{name}")
    run(store, 2)
    assert len(here) == SHARDS
    assert side_cars(store) == here


def test_a_failing_shard_in_the_pool_does_not_lose_the_others(store: Storage):
    damage(store, 1)
    with pytest.raises(
        CorpusError, match=r"raw/00001-\w+\.tar: bytes of [0-9a-f]{32} .* are not what"
    ):
        run(store, 2)
    assert [is_fresh(MEASURE, shard, store) for shard in range(SHARDS)] == [True, False, True]
    assert store.listing("dead_letters/measure").keys() == {"00000.parquet", "00002.parquet"}


def test_a_failing_shard_in_this_process_keeps_what_was_committed(store: Storage):
    damage(store, 1)
    with pytest.raises(
        CorpusError, match=r"raw/00001-\w+\.tar: bytes of [0-9a-f]{32} .* are not what"
    ):
        run(store, 1)
    assert not is_fresh(MEASURE, 1, store)
    run(store, 1, range(0, 1))
    assert is_fresh(MEASURE, 0, store)


def test_the_outcomes_come_back_as_beam_counters(store: Storage):
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = shard_numbers(pipeline, range(SHARDS)) | MapShards([MEASURE], store)
    result = pipeline.run()
    result.wait_until_finish()
    query = result.metrics().query(beam.metrics.MetricsFilter().with_namespace("measure"))
    counters = {found.key.metric.name: found.committed for found in query["counters"]}
    assert counters == {"rows_in": 15, "kept": 12, "skipped": 0, "failed:corrupt_image": 3}
    times = {found.key.metric.name: found.committed.count for found in query["distributions"]}
    assert times == {"milliseconds": SHARDS, "bytes": SHARDS}


@pytest.mark.parametrize("processes", [1, 2])
def test_shards_that_are_done_come_out(store: Storage, processes: int):
    with local_pool(processes), beam.Pipeline(runner=FnApiRunner()) as pipeline:
        done = shard_numbers(pipeline, range(SHARDS)) | MapShards([MEASURE], store)
        _ = done | beam.combiners.ToList() | beam.Map(check_done)


def check_done(shards: list[int]) -> None:
    assert sorted(shards) == list(range(SHARDS))


def test_work_that_kills_every_worker_ends_the_build(capsys: pytest.CaptureFixture[str]):
    with (
        pytest.raises(CorpusError, match=r"worker process was killed, 3 times.*fewer --processes"),
        local_pool(2),
        beam.Pipeline(runner=FnApiRunner()) as pipeline,
    ):
        _ = shard_numbers(pipeline, [9]) | beam.ParDo(Concurrently(os._exit))
    assert capsys.readouterr().err.count("its shards begin anew") == 2


def test_memory_cannot_be_shared_with_a_pool():
    store = Storage("memory://corpus")
    with pytest.raises(CorpusError, match="use --processes 1"), Engine(processes=2).started(store):
        pass


def interrupt(number: int) -> None:
    raise KeyboardInterrupt


def fill_the_disk(number: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def run_step(step: Callable[[int], None]) -> None:
    Engine().run(lambda root: shard_numbers(root, [1]) | beam.Map(step), name="x")


def test_ctrl_c_in_a_step_of_a_job_is_ctrl_c():
    with pytest.raises(KeyboardInterrupt):
        run_step(interrupt)


def test_a_full_disk_that_a_step_meets_is_said_to_be_that():
    with pytest.raises(OSError, match="No space left on device") as caught:
        run_step(fill_the_disk)
    assert caught.value.errno == errno.ENOSPC
