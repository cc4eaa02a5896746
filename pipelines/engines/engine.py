"""Where Beam graphs run: this machine by default, any runner by a profile and Beam's options."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pipelines.engines.local_pool import default_processes, forget_outcome, local_pool, take_error
from pipelines.engines.profile import Profile, load_profile, options_of, parse_options
from pipelines.engines.runners import end_job_servers, runner_for
from pipelines.engines.worker_watch import JobStoppedError, WorkerKilledError, run_watched
from schemas.store.storage import CorpusError, Storage


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A Beam runner and its options, and how many processes of this machine work for it."""

    profile: Profile = field(default_factory=lambda: load_profile("local"))
    beam_options: tuple[str, ...] = ()  # as given after `--`; they win over the profile's
    processes: int | None = None  # None for one a core
    verbose: bool = False  # whether all that Beam has to say is shown

    @staticmethod
    def of(options: argparse.Namespace) -> "Engine":
        """Return the engine that a command names: --engine, --processes, and what is after --.

        Raises:
            CorpusError: there is none of that name.
        """
        return Engine(
            profile=load_profile(options.engine),
            beam_options=options.beam_options,
            processes=options.processes,
            verbose=getattr(options, "verbose", False),
        )

    @property
    def arguments(self) -> tuple[str, ...]:
        """All options of Beam, as words of a command line."""
        profile = self.profile.arguments(self.processes or default_processes())
        return (*profile, *self.beam_options)

    @property
    def has_pool(self) -> bool:
        """Whether Beam runs in this process, with our worker processes beside it."""
        return self.profile.pool and "runner" not in parse_options(self.beam_options)

    @property
    def _log(self) -> str:
        # A runner that the user names says all it has to say.
        named = self.profile.pool and not self.has_pool
        return "INFO" if self.verbose or named else self.profile.log

    @contextmanager
    def started(self, store: Storage) -> Iterator[None]:
        """Start what the engine needs on this machine, and show what it has to say.

        Raises:
            CorpusError: if something that the engine needs is not there, or if the corpus lies in
                memory, which other processes cannot see.
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
        with _heard(self._log), local_pool(processes) if self.has_pool else nullcontext():
            yield

    def job_arguments(
        self, name: str, *, stages: Collection[str] = (), gpu: bool = False
    ) -> tuple[str, ...]:
        """Return the options of one job, those for its stages or for GPUs among them."""
        job = {name, *stages, *(["gpu"] if gpu else [])}
        # The user's own --job_name, if any, comes later and wins.
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
        """Run one Beam job to its end; where it is interrupted, it is cancelled.

        Args:
            graph: applies transforms to the pipeline.
            name: of the job.
            stages: that run in it, if it has not the name of its only one.
            gpu: whether options for jobs on accelerators hold for it.

        Returns:
            Beam's PipelineResult.

        Raises:
            CorpusError: if the job fails, one of its workers on this machine is killed, or it is
                stopped (`pipelines.engines.local_pool.stop_work`).
        """
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions

        options = PipelineOptions(list(self.job_arguments(name, stages=stages, gpu=gpu)))
        pipeline = beam.Pipeline(runner=runner_for(options), options=options)
        graph(pipeline)
        forget_outcome()  # of an earlier job, which nobody asked for
        jobs: list[Any] = []  # the job, once it runs
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
        except Exception as error:  # a runner's own error, with ours as text in it
            if (ours := take_error() or _met_by_a_step(error)) is not None:
                raise ours from None
            if self.has_pool or not _is_a_runners(error):
                raise
            # Of a runner elsewhere: all that is known is its text.
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
        with suppress(Exception):  # it may have ended, or its job server
            job.cancel()


@contextmanager
def _heard(level: str) -> Iterator[None]:
    root = logging.getLogger()
    before = root.level
    root.setLevel(level)
    try:
        yield
    finally:
        root.setLevel(before)


def _is_a_runners(error: Exception) -> bool:
    """Whether it tells that a job failed: a RuntimeError, or one of Beam's own kinds (Dataflow)."""
    return isinstance(error, RuntimeError) or type(error).__module__.startswith("apache_beam.")


def _met_by_a_step(error: BaseException) -> BaseException | None:
    """Return what a step in this process raised, if Beam wrapped it.

    It adds the step's name to the message; what has no message first, such as Ctrl-C or an error
    of the disk, becomes a RuntimeError.
    """
    return error.__context__ if getattr(error, "_tagged_with_step", False) else None


def shard_numbers(pipeline: Any, numbers: Sequence[int]) -> Any:
    """Put shard numbers into a pipeline."""
    import apache_beam as beam

    return pipeline | "Shards" >> beam.Create(list(numbers), reshuffle=False).with_output_types(int)
