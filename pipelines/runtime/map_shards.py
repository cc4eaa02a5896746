"""One Beam transform for every chain of map stages: shard numbers in, those that are done out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics.metric import Metrics, MetricsFilter
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from pipelines.engines.lasting_pool import Call
from pipelines.engines.local_pool import current_job, refuse_if_stopped, remembered_error, submit
from pipelines.runtime.chain import RunChain, by_hints, chain_name, first_stale
from pipelines.runtime.stage import MapStage, ShardReport
from schemas.store.storage import Storage

# Metrics of a stage, of a shard each: its time, and how long the device waited for prepared images.
MILLISECONDS, WAITED = "milliseconds", "waited_milliseconds"


class MapShards(beam.PTransform[Any, Any]):
    """Run a chain of map stages over a collection of shard numbers.

    Each shard is read, processed and committed by one call on one worker, stage after stage; only
    its number passes through Beam. A call that raises is retried by the runner as a whole, and
    goes on after the stages that were committed. Stages that ask for other workers than those
    before them get a step of their own, to which only shards go that have work there.
    """

    def __init__(self, stages: Sequence[MapStage], store: Storage) -> None:
        super().__init__(label=f"MapShards({chain_name(stages)})")
        self._steps = list(by_hints(stages))
        self._store = store

    def expand(self, input_or_inputs: Any) -> Any:
        """Spread the shards over the workers, then run them."""
        shards = input_or_inputs
        for number, stages in enumerate(self._steps):
            name = chain_name(stages)
            if number:
                shards |= f"WithWork({name})" >> beam.Filter(_has_work, stages, self._store)
            shards = (
                shards
                | f"Spread({name})" >> beam.Reshuffle().with_input_types(int).with_output_types(int)
                | f"Run({name})"
                >> beam.ParDo(_RunChain(stages, self._store))
                .with_output_types(int)
                .with_resource_hints(**stages[0].hints())
            )
        return shards


def _has_work(shard: int, stages: Sequence[MapStage], store: Storage) -> bool:
    return first_stale(stages, shard, store) < len(stages)


class Concurrently(beam.DoFn):
    """Call a function for each element: in the local pool where there is one, else here.

    Elements of a bundle are submitted as they come and collected at its end, so the bundle is
    as large as the references in it, not as what they refer to.
    """

    def __init__(self, function: Callable[[Any], Any], gpus: int = 0) -> None:
        self._function = function
        self._gpus = gpus  # of a worker, each for a process of its own
        self._job = current_job()
        self._pending: list[Call] = []

    def process(self, element: Any) -> Iterator[Any]:
        """Start the call, or make it."""
        refuse_if_stopped(self._job)
        call = submit(self._function, element, gpus=self._gpus)
        if call is not None:
            self._pending.append(call)
            return
        with remembered_error():
            result = self._function(element)
        yield result

    def finish_bundle(self) -> Iterator[Any]:
        """Wait for the calls that were started; after an error the pool's end drops the others."""
        pending, self._pending = self._pending, []
        for call in pending:
            with remembered_error():
                result = call.result()
            yield WindowedValue(result, MIN_TIMESTAMP, (GlobalWindow(),))


class _RunChain(Concurrently):
    """Run a chain, and count outcomes for the runner's own monitoring."""

    def __init__(self, stages: Iterable[MapStage], store: Storage) -> None:
        stages = tuple(stages)
        gpu = stages[0].gpu  # stages with other hints have a step of their own
        super().__init__(RunChain(stages, store), gpus=gpu.count if gpu else 0)

    def process(self, element: int) -> Iterator[int]:
        """Run one shard."""
        for reports in super().process(element):
            yield _observe(reports)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Collect the shards in flight."""
        for windowed in super().finish_bundle():
            yield windowed.with_value(_observe(windowed.value))


def _observe(reports: Sequence[ShardReport]) -> int:
    """Count what became of a shard's rows; return its number."""
    for report in reports:
        counts = {"rows_in": report.rows_in, "kept": report.kept, "skipped": int(report.skipped)}
        counts |= {f"dropped:{reason}": rows for reason, rows in report.dropped.items()}
        counts |= {f"failed:{reason}": rows for reason, rows in report.failed.items()}
        for name, rows in counts.items():
            Metrics.counter(report.stage, name).inc(rows)
        if not report.skipped:
            Metrics.distribution(report.stage, MILLISECONDS).update(int(report.seconds * 1000))
            Metrics.distribution(report.stage, "bytes").update(report.file_bytes)
            if report.waited is not None:
                waited = int(report.waited * report.seconds * 1000)
                Metrics.distribution(report.stage, WAITED).update(waited)
    return reports[0].shard


def seconds_of(
    stages: Iterable[MapStage], job: Any, metric: str = MILLISECONDS
) -> dict[str, float]:
    """Return the seconds that all workers together spent on each stage, as far as a job tells."""
    asked = MetricsFilter().with_name(metric)
    found = job.metrics().query(asked)["distributions"]
    spent = {each.key.metric.namespace: each.result.sum / 1000 for each in found if each.result}
    return {stage.name: spent[stage.name] for stage in stages if stage.name in spent}
