"""Beam's runners: one of each kind a process, and its job server with it."""

from collections.abc import Callable
from functools import cache
from typing import Any


@cache
def runner_named(name: str) -> Any:
    """Create a runner whose job server, if it has one, serves every job of this process.

    A build is a dozen jobs, and a job server in Java takes seconds to start; Flink's would be
    started for each job, and all would stay until the end.
    """
    from apache_beam.runners.runner import create_runner

    runner = create_runner(name)
    if hasattr(runner, "default_job_server"):
        runner.default_job_server = _only_once(runner.default_job_server)
    return runner


def _only_once(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    made: list[Any] = []

    def make_once(options: Any) -> Any:
        if not made:
            made.append(make(options))
        return made[0]

    return make_once
