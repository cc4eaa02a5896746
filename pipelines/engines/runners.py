"""Beam's runners: one of each kind a process, and its job server with it."""

from collections.abc import Callable
from functools import cache
from typing import Any

_servers: dict[str, Any] = {}  # by the runner's name


def runner_for(options: Any) -> Any:
    """Return the runner that Beam's options name; its job server, if it has one, is running.

    That serves every job of this process: a build is a dozen jobs, and a job server in Java takes
    seconds to start. Flink's would be started for each job, and all would stay until the end.
    """
    from apache_beam.options.pipeline_options import PortableOptions, StandardOptions

    runner = _runner_named(options.view_as(StandardOptions).runner)
    if hasattr(runner, "default_job_server") and not options.view_as(PortableOptions).job_endpoint:
        # Before Beam's own workers, so that it outlives them and they end in peace.
        runner.default_job_server(options).start()
    return runner


def end_job_servers() -> None:
    """End the job servers of this process with the jobs on them; the next job starts another."""
    while _servers:
        _servers.popitem()[1].stop()


@cache
def _runner_named(name: str) -> Any:
    from apache_beam.runners.runner import create_runner

    runner: Any = create_runner(name)
    if hasattr(runner, "default_job_server"):
        runner.default_job_server = _only_once(name, runner.default_job_server)
    return runner


def _only_once(name: str, make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def make_once(options: Any) -> Any:
        if name not in _servers:
            _servers[name] = make(options)
        return _servers[name]

    return make_once
