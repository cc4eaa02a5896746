"""One Beam transform for every map stage: shard numbers in, one report a shard out."""

from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics.metric import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from pipelines.engines.lasting_pool import Call
from pipelines.engines.local_pool import remembered_error, submit
from pipelines.runtime.stage import MapStage, RunShard, ShardReport
from schemas.store.storage import Storage


class MapShards(beam.PTransform[Any, Any]):
    """Run a map stage over a collection of shard numbers.

    Each shard is read, processed and committed by one call on one worker; only its number and
    its report pass through Beam. A call that raises is retried by the runner as a whole.
    """

    def __init__(self, stage: MapStage, store: Storage) -> None:
        super().__init__(label=f"MapShards({stage.name})")
        self._stage = stage
        self._store = store

    def expand(self, input_or_inputs: Any) -> Any:
        """Spread the shards over the workers, then run them."""
        return (
            input_or_inputs
            | "Spread" >> beam.Reshuffle().with_input_types(int).with_output_types(int)
            | "Run"
            >> beam.ParDo(_RunShard(self._stage, self._store))
            .with_output_types(ShardReport)
            .with_resource_hints(**self._stage.hints())
        )


class Concurrently(beam.DoFn):
    """Call a function for each element: in the local pool where there is one, else here.

    Elements of a bundle are submitted as they come and collected at its end, so the bundle is
    as large as the references in it, not as what they refer to.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function
        self._pending: list[Call] = []

    def process(self, element: Any) -> Iterator[Any]:
        """Start the call, or make it."""
        call = submit(self._function, element)
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


class _RunShard(Concurrently):
    """Run one stage, and count its doors for the runner's own monitoring."""

    def __init__(self, stage: MapStage, store: Storage) -> None:
        super().__init__(RunShard(stage, store))
        self._name = stage.name

    def process(self, element: int) -> Iterator[ShardReport]:
        """Run one shard."""
        for report in super().process(element):
            self._observe(report)
            yield report

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Collect the shards in flight."""
        for windowed in super().finish_bundle():
            self._observe(windowed.value)
            yield windowed

    def _observe(self, report: ShardReport) -> None:
        doors = {"rows_in": report.rows_in, "kept": report.kept, "skipped": int(report.skipped)}
        doors |= {f"dropped:{reason}": rows for reason, rows in report.dropped.items()}
        doors |= {f"dead:{reason}": rows for reason, rows in report.dead.items()}
        for door, rows in doors.items():
            Metrics.counter(self._name, door).inc(rows)
        if not report.skipped:
            Metrics.distribution(self._name, "milliseconds").update(int(report.seconds * 1000))
            Metrics.distribution(self._name, "bytes").update(report.file_bytes)
