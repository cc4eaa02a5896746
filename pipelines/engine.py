"""Where Beam graphs run: this machine by default, any runner by Beam's own options."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipelines.local_pool import default_processes, local_pool, take_error
from pipelines.storage import CorpusError, Storage


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A Beam runner, and how many local processes work for it if it is the local one."""

    beam_options: tuple[str, ...] = ()  # as given after `--`, untouched
    processes: int | None = None  # of the local engine; None for one a core

    @property
    def is_local(self) -> bool:
        """Whether Beam runs in this process, with our worker processes beside it."""
        return not any(option.startswith("--runner") for option in self.beam_options)

    @contextmanager
    def started(self, store: Storage) -> Iterator[None]:
        """Start the worker processes of the local engine.

        Raises:
            CorpusError: if the corpus lies in memory, which other processes cannot see.
        """
        processes = self.processes or default_processes()
        if not self.is_local:
            yield
            return
        if store.root.startswith("memory://"):
            if processes > 1 and self.processes:
                raise CorpusError(f"{store.root}: memory is not shared; use --processes 1")
            processes = 1
        with local_pool(processes):
            yield

    def run(self, graph: Callable[[Any], None], *, name: str) -> None:
        """Run one Beam job to its end; `graph` applies transforms to the pipeline."""
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions

        options = list(self.beam_options)
        if self.is_local:
            # Named, because "DirectRunner" would first try to fetch another runner.
            options += ["--runner=FnApiRunner"]
        if not any(option.startswith("--job_name") for option in options):
            options += [f"--job_name=vargpt-corpus-{name.replace('_', '-')}"]
        pipeline = beam.Pipeline(options=PipelineOptions(options))
        graph(pipeline)
        take_error()  # of an earlier job, which nobody asked for
        try:
            state = pipeline.run().wait_until_finish()
        except Exception:  # a runner's own error, with ours as text in it
            if (ours := take_error()) is not None:
                raise ours from None
            raise
        if state not in (None, "DONE"):
            raise CorpusError(f"{name}: the Beam job ended in state {state}")


def shard_numbers(pipeline: Any, numbers: Sequence[int]) -> Any:
    """Put shard numbers into a pipeline."""
    import apache_beam as beam

    return pipeline | "Shards" >> beam.Create(list(numbers), reshuffle=False).with_output_types(int)
