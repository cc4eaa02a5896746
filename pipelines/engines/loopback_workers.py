"""Beam's workers beside the driver of an engine in Java: the death of one is noticed.

The job server asks the driver to start them (environment type LOOPBACK), and waits for ever for one
that was killed (Beam 2.77, with Spark 3.5 inside it).
"""

import atexit
import signal
import threading
from subprocess import Popen
from typing import Any

from apache_beam.runners.worker import worker_pool_main

from pipelines.engines.beam_workers import WATCHING_THREAD


class LoopbackWorkers(worker_pool_main.BeamFnExternalWorkerPoolServicer):
    """Starts a process for each worker, and has a thread wait for its end.

    That thread raises where the process was killed and Beam had not asked for it; `noticed_deaths`
    carries that to the thread that waits for the job.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._ending = threading.Event()  # this process

    def StartWorker(self, start_worker_request: Any, unused_context: Any) -> Any:
        """Start a worker and watch it."""
        number = start_worker_request.worker_id
        answer = super().StartWorker(start_worker_request, unused_context)
        if process := self._worker_processes.get(number):
            atexit.register(self._ending.set)  # after Beam's own, and so called before it
            watch = threading.Thread(
                target=self._watch, args=(number, process), name=WATCHING_THREAD, daemon=True
            )
            watch.start()
        return answer

    def _watch(self, number: str, process: "Popen[bytes]") -> None:
        code = process.wait()
        # Beam forgets a worker before it stops it; those left when this process ends it terminates.
        stopped = self._worker_processes.get(number) is not process or self._ending.is_set()
        if code < 0 and code != -signal.SIGINT and not stopped:  # at a terminal they hear Ctrl-C
            raise RuntimeError(f"worker {number} was killed by signal {-code}")


def watch_loopback_workers() -> None:
    """Have Beam's portable runners of this process start their workers so."""
    worker_pool_main.BeamFnExternalWorkerPoolServicer = LoopbackWorkers
