"""Beam's runners: one of each kind per process, with its job server."""

from collections.abc import Callable
from functools import cache
from typing import Any

_servers: dict[str, Any] = {}  # by the runner's name


def runner_for(options: Any) -> Any:
    """Return the runner that Beam's options name, with its job server running, if it has one.

    The job server serves all jobs of this process, because a Java job server takes seconds to
    start. Otherwise Flink's would be started for each job, and all would run until the end.
    """
    from apache_beam.options.pipeline_options import PortableOptions, StandardOptions

    runner = _runner_named(options.view_as(StandardOptions).runner)
    if hasattr(runner, "default_job_server") and not options.view_as(PortableOptions).job_endpoint:
        # Start it before Beam's workers, so that it ends after them and they can end normally.
        runner.default_job_server(options).start()
    return runner


def end_job_servers() -> None:
    """End the job servers of this process and their jobs; the next job starts a new server."""
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
