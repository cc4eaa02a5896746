"""The engine of Beam graphs: this machine by default, or any runner, by profile and options."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pipelines.engines.local_pool import begin_job, default_processes, local_pool, take_error
from pipelines.engines.profile import Profile, load_profile, options_of, parse_options
from pipelines.engines.runners import end_job_servers, runner_for
from pipelines.engines.worker_watch import JobStoppedError, WorkerKilledError, run_watched
from schemas.store.storage import CorpusError, Storage


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A Beam runner with its options, and the number of local worker processes."""

    profile: Profile = field(default_factory=lambda: load_profile("local"))
    beam_options: tuple[str, ...] = ()  # after `--`; they override the profile's
    processes: int | None = None  # None for one per core
    verbose: bool = False  # whether to show Beam's whole log

    @staticmethod
    def of(options: argparse.Namespace) -> "Engine":
        """Return the engine of a command line: --engine, --processes, and options after --.

        Raises:
            CorpusError: there is no engine with this name.
        """
        return Engine(
            profile=load_profile(options.engine),
            beam_options=options.beam_options,
            processes=options.processes,
            verbose=getattr(options, "verbose", False),
        )

    @property
    def arguments(self) -> tuple[str, ...]:
        """All options of Beam, as command line arguments."""
        profile = self.profile.arguments(self.processes or default_processes())
        return (*profile, *self.beam_options)

    @property
    def has_pool(self) -> bool:
        """Whether Beam runs in this process, with our own worker processes."""
        return self.profile.pool and "runner" not in parse_options(self.beam_options)

    @property
    def _log(self) -> str:
        # Show the log of a runner that the user names.
        named = self.profile.pool and not self.has_pool
        return "INFO" if self.verbose or named else self.profile.log

    @contextmanager
    def started(self, store: Storage) -> Iterator[None]:
        """Start the engine's worker processes on this machine, and set the log level.

        Raises:
            CorpusError: something that the engine needs is missing, or the corpus is in memory,
                which other processes cannot read.
        """
        if missing := self.profile.missing(self.arguments):
            raise CorpusError("\n".join(f"engine {self.profile.name}: {line}" for line in missing))
        in_memory = store.root.startswith("memory://")
        if in_memory and not self.profile.pool:
            raise CorpusError(f"{store.root}: memory is not shared with workers elsewhere")
        processes = self.processes or default_processes()
        if in_memory and self.has_pool:
            if processes > 1 and self.processes:
                raise CorpusError(f"{store.root}: memory is not shared; use --processes 1")
            processes = 1
        if not self.has_pool:
            # Beam starts its worker processes as `python`.
            os.environ["PATH"] = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
        with _with_log_level(self._log), local_pool(processes) if self.has_pool else nullcontext():
            yield

    def job_arguments(
        self, name: str, *, stages: Collection[str] = (), gpu: bool = False
    ) -> tuple[str, ...]:
        """Return the options of one job, with the options for its stages and for GPUs."""
        job = {name, *stages, *(["gpu"] if gpu else [])}
        # The user's --job_name, if any, comes later and overrides this.
        named = f"--job_name=vargpt-corpus-{name.replace('_', '-')}"
        return named, *options_of(job, self.arguments)

    def run(
        self,
        graph: Callable[[Any], None],
        *,
        name: str,
        stages: Collection[str] = (),
        gpu: bool = False,
    ) -> Any:
        """Run one Beam job to its end; on an interrupt, cancel it.

        Args:
            graph: applies transforms to the pipeline.
            name: of the job.
            stages: the stages in the job, if there are several.
            gpu: whether the options for GPU jobs apply.

        Returns:
            Beam's PipelineResult.

        Raises:
            CorpusError: the job fails, a local worker is killed, or the job is stopped
                (`pipelines.engines.local_pool.stop_work`).
        """
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions

        options = PipelineOptions(list(self.job_arguments(name, stages=stages, gpu=gpu)))
        begin_job()
        pipeline = beam.Pipeline(runner=runner_for(options), options=options)
        graph(pipeline)
        jobs: list[Any] = []  # the job, after its start
        try:
            call = partial(_run_to_end, pipeline, jobs)
            state = call() if self.has_pool else run_watched(call)
        except KeyboardInterrupt:
            _cancel(jobs)
            raise
        except JobStoppedError as error:
            _cancel(jobs)
            raise CorpusError(f"{name}: {error}") from None
        except WorkerKilledError as error:
            _cancel(jobs)
            end_job_servers()
            raise CorpusError(
                f"{name}: {error}, as the system does when memory runs out; "
                "the same command goes on from here"
            ) from None
        except Exception as error:  # an error of the runner, which may contain ours as text
            if (ours := take_error() or _raised_in_a_step(error)) is not None:
                raise ours from None
            if self.has_pool or not _is_a_runners(error):
                raise
            # An error of a remote runner: only its text is known.
            where = self.profile.name
            raise CorpusError(f"{name}: the Beam job failed on {where}: {error}") from error
        if state not in (None, "DONE"):
            raise CorpusError(f"{name}: the Beam job ended in state {state}")
        return jobs[0]


def _run_to_end(pipeline: Any, jobs: list[Any]) -> str | None:
    jobs.append(pipeline.run())
    return jobs[0].wait_until_finish()


def _cancel(jobs: Sequence[Any]) -> None:
    for job in jobs:
        with suppress(Exception):  # the job or its server may have ended
            job.cancel()


@contextmanager
def _with_log_level(level: str) -> Iterator[None]:
    root = logging.getLogger()
    before = root.level
    root.setLevel(level)
    try:
        yield
    finally:
        root.setLevel(before)


def _is_a_runners(error: Exception) -> bool:
    """Return whether an error means a failed job: a RuntimeError, or a class of Beam (Dataflow)."""
    return isinstance(error, RuntimeError) or type(error).__module__.startswith("apache_beam.")


def _raised_in_a_step(error: BaseException) -> BaseException | None:
    """Return the error that a step in this process raised, if Beam wrapped it.

    Beam adds the step's name to the message. An error whose first argument is no message, such as
    Ctrl-C or an error of the disk, becomes a RuntimeError.
    """
    return error.__context__ if getattr(error, "_tagged_with_step", False) else None


def shard_numbers(pipeline: Any, numbers: Sequence[int]) -> Any:
    """Return a PCollection of shard numbers."""
    import apache_beam as beam

    return pipeline | "Shards" >> beam.Create(list(numbers), reshuffle=False).with_output_types(int)
